/* stubs.h: between the generated stubs.c and the loader in core.go. */
#include "nln_core.h"

/* The names of all functions, in order, ended by NULL. */
extern const char *const nln_stub_names[];

/* Makes the i'th stub call symbol. */
void nln_stub_set(int i, void *symbol);

nln_status nln_stub_not_loaded(void);
