/* digest: see digest.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { PIECE_BYTES = 1 << 20 };

struct digest {
  EVP_MD_CTX *context;
};

static struct digest *begin(const EVP_MD *kind) {
  struct digest *d = mem_zalloc(1, sizeof *d);
  d->context = EVP_MD_CTX_new();
  int good = d->context && EVP_DigestInit_ex(d->context, kind, NULL);
  assert(good == 1);
  return d;
}

struct digest *digest_begin(void) { return begin(EVP_sha256()); }

void digest_add(struct digest *d, const void *data, size_t n) {
  int good = EVP_DigestUpdate(d->context, data, n);
  assert(good == 1);
}

void digest_end(struct digest *d, char out[DIGEST_HEX]) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  int good = EVP_DigestFinal_ex(d->context, bytes, &n);
  assert(good == 1 && n <= 32);
  for (unsigned i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
  EVP_MD_CTX_free(d->context);
  free(d);
}

static int add_fd(struct digest *d, int fd, const char *path, bool (*cancelled)(void *arg), void *arg, struct error *err) {
  char *piece = mem_alloc(PIECE_BYTES);
  int result = 0;
  for (ssize_t n; result == 0 && (n = read(fd, piece, PIECE_BYTES)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result = error_set(err, ERROR_IO, "Cannot read %s: %s.", path, strerror(errno));
    else digest_add(d, piece, (size_t)n);
    if (result == 0 && cancelled && cancelled(arg)) result = error_set(err, ERROR_CANCELLED, "Interrupted while reading %s.", path);
  }
  free(piece);
  return result;
}

static int digest_any(struct digest *d, const char *path, bool as_blob, bool (*cancelled)(void *arg), void *arg, char *out,
                      struct error *err) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result = -1;
  if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
    error_set(err, ERROR_IO, "Cannot read %s: %s.", path, fd < 0 ? strerror(errno) : "it is no regular file");
  } else {
    char head[64];
    int n = snprintf(head, sizeof head, "blob %lld", (long long)st.st_size);
    if (as_blob) digest_add(d, head, (size_t)n + 1);
    result = add_fd(d, fd, path, cancelled, arg, err);
  }
  if (fd >= 0) close(fd);
  char hex[DIGEST_HEX];
  digest_end(d, hex);
  if (result == 0) strcpy(out, hex);
  return result;
}

int digest_file(const char *path, bool (*cancelled)(void *arg), void *arg, char out[DIGEST_HEX], struct error *err) {
  return digest_any(digest_begin(), path, false, cancelled, arg, out, err);
}

int digest_git_blob(const char *path, char out[DIGEST_GIT_HEX], struct error *err) {
  return digest_any(begin(EVP_sha1()), path, true, NULL, NULL, out, err);
}
