/* load.c: finds the functions of a core at run time. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "stubs.h"

nln_status nln_stub_not_loaded(void) {
  nln_status s = {NLN_NOT_LOADED, NULL};
  return s;
}

static char *load_error(const char *fallback) {
  const char *e = dlerror();
  return strdup(e ? e : fallback);
}

char *nln_load(const char *path) {
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) return load_error("dlopen failed");
  uint32_t (*version)(void) = (uint32_t (*)(void))dlsym(lib, "nln_abi_version");
  if (!version || version() != NLN_ABI_VERSION) {
    dlclose(lib);
    return strdup("it was built for another version of nlnctl");
  }
  for (int i = 0; nln_stub_names[i]; i++) {
    if (!dlsym(lib, nln_stub_names[i])) {
      char *error = load_error(nln_stub_names[i]);
      dlclose(lib);
      return error;
    }
  }
  for (int i = 0; nln_stub_names[i]; i++) nln_stub_set(i, dlsym(lib, nln_stub_names[i]));
  return NULL;
}
