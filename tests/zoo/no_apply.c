// zoo: cheat
// attack: It is a library without the function that multiplies.
// fails: A library must export all five functions.
// case: exact/up/uniform-80/b48/f32/exact
// claims: exact
// measure: no
// words: sv_apply
// code: 3
#include "sparse_verify_operator.h"
int sv_open(const sv_settings *s, void **h) { (void)s; (void)h; return 0; }
int sv_build(void *h, const DLTensor *a) { (void)h; (void)a; return 0; }
void sv_close(void *h) { (void)h; }
const char *sv_last_error(void *h) { (void)h; return 0; }
