/* data_dir: the folder with what outlives the server, and the admin token in it. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_DATA_DIR_H
#define APP_DATA_DIR_H
#include "base/buf.h"
#include "base/error.h"
#include "store/store.h"

/* given, or ${XDG_DATA_HOME:-~/.local/share}/plinth/data; new memory. */
char *data_dir_path(const char *given);
/* Makes the folder (mode 0700) where it is missing, and checks that it can be written. */
int data_dir_make(const char *path, struct error *err);
/* One server at a time: returns a descriptor that holds the lock until it is closed, or -1. */
int data_dir_lock(const char *path, struct error *err);

/* Path of the file with the admin token; new memory. */
char *data_dir_token_path(const char *path);
/* Makes a new admin token, writes it to its file (mode 0600) and its hash to the store; appends it to ret_token when that is not NULL. */
int data_dir_token_reset(const char *path, struct store *store, struct buf *ret_token, struct error *err);
/* The same when the store knows none: the first start. */
int data_dir_token_ensure(const char *path, struct store *store, struct error *err);
/* Appends the token of the file when the store knows it. 1: done; 0: the file is missing or holds another token. */
int data_dir_token_read(const char *path, struct store *store, struct buf *ret_token, struct error *err);

#endif
