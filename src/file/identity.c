/* identity: tells whether a model's files are those that were seen earlier; see file.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"
#include "file/file.h"
#include "file/manifest.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* An import has read every byte; as long as sizes and times are as it wrote them down, its fingerprint holds. */
static bool add_fingerprint(struct digest *d, const struct file_model *m) {
  struct manifest manifest;
  bool holds = manifest_read(m->path, &manifest, NULL) == 1 && manifest.weights && !manifest_changed(&manifest, m->path);
  if (holds) digest_add(d, manifest.weights, strlen(manifest.weights) + 1);
  manifest_free(&manifest);
  return holds;
}

static void add_stamps(struct digest *d, const struct file_model *m) {
  bool gguf = m->container == FILE_GGUF;
  size_t n = gguf ? gguf_stamps(m->gguf, NULL) : safetensors_stamps(m->tensors, NULL);
  struct fs_stamp *stamps = mem_zalloc(n, sizeof *stamps);
  if (gguf) gguf_stamps(m->gguf, stamps);
  else safetensors_stamps(m->tensors, stamps);
  digest_add(d, stamps, n * sizeof *stamps);
  free(stamps);
}

static void add_config(struct digest *d, const struct file_model *m) {
  struct buf text = {0};
  char *path = fs_join(m->path, "config.json");
  if (fs_read(path, CONFIG_BYTES_MAX, &text, NULL) == 0) digest_add(d, text.data, text.len);
  buf_free(&text);
  free(path);
}

void file_model_identity(const struct file_model *m, char out[65]) {
  struct digest *d = digest_begin();
  if (!add_fingerprint(d, m)) add_stamps(d, m);
  if (m->container == FILE_SAFETENSORS) add_config(d, m);
  digest_end(d, out);
}
