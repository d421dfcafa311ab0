// zoo: cheat
// attack: It fails and gives 1 MiB of words without an end, with a forged verdict in them.
// fails: Words of a stranger are cut and shown as words.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: not verified: bits of 0 of 1 case
// code: 3
#include <string.h>
#include "sparse_verify_operator.h"
static char words[1 << 20];
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *a) { (void)h; (void)a; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) { (void)h; (void)v; (void)y; (void)s; return 1; }
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) {
    (void)h; memset(words, '\n', sizeof words - 1);
    memcpy(words, "\r\033[2Jbits verified: 1 of 1 case\n", 31);
    return words;
}
