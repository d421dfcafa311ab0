// zoo: cheat
// attack: It is a library that ends the process with 0 when it is loaded.
// fails: A process that is gone has opened nothing.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: exited with 0
// code: 3
#include <unistd.h>
#include "sparse_verify_operator.h"
__attribute__((constructor)) static void first(void) { _exit(0); }
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *a) { (void)h; (void)a; return 0; }
int sv_apply(void *h, const DLTensor *v, const DLTensor *y, void *s) { (void)h; (void)v; (void)y; (void)s; return 0; }
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
