/* data_dir: see data_dir.h. SPDX-License-Identifier: Apache-2.0
 *
 * The token's text is only in its file; the store has its SHA-256. At a reset the file is written first: a stop between the two leaves the old
 * token good and is told at the next start, and at the first start the next one simply begins again. */
#include "app/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "app/paths.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

enum { TOKEN_RANDOM_BYTES = 32, TOKEN_FILE_BYTES_MAX = 4096 };

char *data_dir_path(const char *given) {
  if (given) return mem_strdup(given);
  char *base = paths_data_dir(), *path = fs_join(base, "data");
  free(base);
  return path;
}

int data_dir_make(const char *path, struct error *err) {
  if (fs_mkdirs(path, 0700, err) < 0) return error_prefix(err, "The data folder cannot be used; give another one with --data-dir");
  if (access(path, W_OK | X_OK) == 0) return 0;
  return error_set(err, ERROR_IO, "Cannot write in the data folder %s: %s. Give another one with --data-dir.", path, strerror(errno));
}

/* Who holds the lock, for the message; 0 when it does not say. */
static long holder(int fd) {
  char text[32] = "";
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int take_lock(int fd, const char *path, struct error *err) {
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno == EWOULDBLOCK)
      return error_set(err, ERROR_UNAVAILABLE,
                       "Another Plinth server (process %ld) uses the data folder %s. Stop it, or give another folder with --data-dir.",
                       holder(fd), path);
    return error_set(err, ERROR_IO, "Cannot lock the data folder %s: %s.", path, strerror(errno));
  }
  char text[32];
  int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
    return error_set(err, ERROR_IO, "Cannot write in the data folder %s: %s.", path, strerror(errno));
  return 0;
}

int data_dir_lock(const char *path, struct error *err) {
  char *file = fs_join(path, "lock");
  int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) error_set(err, ERROR_IO, "Cannot open %s: %s. Give another data folder with --data-dir.", file, strerror(errno));
  free(file);
  if (fd < 0) return -1;
  if (take_lock(fd, path, err) == 0) return fd;
  close(fd);
  return -1;
}

/* ---- the admin token ---- */

char *data_dir_token_path(const char *path) { return fs_join(path, "admin-token"); }

static int hash_of(struct slice token, unsigned char hash[STORE_HASH_BYTES], struct error *err) {
  if (EVP_Digest(token.data, token.len, hash, NULL, EVP_sha256(), NULL)) return 0;
  return error_set(err, ERROR_INTERNAL, "The cryptographic library cannot compute SHA-256.");
}

static int make_token(struct buf *out, struct error *err) {
  unsigned char chance[TOKEN_RANDOM_BYTES];
  if (getrandom(chance, sizeof chance, 0) != (ssize_t)sizeof chance)
    return error_set(err, ERROR_IO, "The system gives no random numbers: %s.", strerror(errno));
  buf_add_cstr(out, "plinth_");
  for (size_t i = 0; i < sizeof chance; i++) buf_printf(out, "%02x", chance[i]);
  return 0;
}

static int write_token(const char *path, struct slice token, struct error *err) {
  struct buf line = {0};
  char *file = data_dir_token_path(path);
  buf_add_slice(&line, token);
  buf_add_byte(&line, '\n');
  int result = fs_write_atomic(file, buf_view(&line), 0600, err);
  buf_free(&line);
  free(file);
  return result;
}

int data_dir_token_reset(const char *path, struct store *store, struct buf *ret_token, struct error *err) {
  struct buf token = {0};
  struct store_token row = {.name = "admin", .created_s = clock_wall_s()};
  int result = make_token(&token, err);
  if (result == 0) result = hash_of(buf_view(&token), row.hash, err);
  if (result == 0) result = write_token(path, buf_view(&token), err);
  if (result == 0) result = store_token_put(store, &row, err);
  if (result == 0 && ret_token) buf_add_slice(ret_token, buf_view(&token));
  buf_free(&token);
  return result;
}

int data_dir_token_ensure(const char *path, struct store *store, struct error *err) {
  struct store_token row;
  int found = store_token_get(store, "admin", &row, err);
  return found ? (found < 0 ? -1 : 0) : data_dir_token_reset(path, store, NULL, err);
}

static bool is_known(struct store *store, struct slice token) {
  struct store_token row;
  unsigned char hash[STORE_HASH_BYTES];
  if (store_token_get(store, "admin", &row, NULL) != 1 || hash_of(token, hash, NULL) < 0) return false;
  return CRYPTO_memcmp(hash, row.hash, sizeof hash) == 0;
}

int data_dir_token_read(const char *path, struct store *store, struct buf *ret_token, struct error *err) {
  struct buf text = {0};
  char *file = data_dir_token_path(path);
  int result = fs_exists(file) ? fs_read(file, TOKEN_FILE_BYTES_MAX, &text, err) : 0;
  free(file);
  struct slice token = buf_view(&text);
  while (token.len && (token.data[token.len - 1] == '\n' || token.data[token.len - 1] == ' ')) token.len--;
  if (result == 0 && token.len && is_known(store, token)) {
    buf_add_slice(ret_token, token);
    result = 1;
  }
  buf_free(&text);
  return result;
}
