/* index: tensors by name. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef FILE_INDEX_H
#define FILE_INDEX_H
#include "file/file.h"

struct index {
  const struct file_tensor **sorted; /* [n] by name */
  size_t n;
};

/* Fails when two tensors share a name. The tensors must stay where they are. name: the file's, for messages. */
int index_make(struct index *x, const struct file_tensor *tensors, size_t n, const char *name, struct error *err);
void index_free(struct index *x);
const struct file_tensor *index_find(const struct index *x, struct slice name);

#endif
