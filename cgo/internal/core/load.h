/* Loads the core at path (a name without a slash is searched for as the dynamic
 * linker does). Returns NULL, or what went wrong, to be freed by the caller. */
char *nln_load(const char *path);
