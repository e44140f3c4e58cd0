/* proto: see proto.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/proto.h"

#include <string.h>

static bool take_varint(struct slice *rest, uint64_t *ret) {
  uint64_t value = 0;
  for (unsigned i = 0; i < 10 && i < rest->len; i++) {
    unsigned char byte = (unsigned char)rest->data[i];
    if (i == 9 && byte > 1) return false; /* more than 64 bits */
    value |= (uint64_t)(byte & 0x7F) << (7 * i);
    if (byte & 0x80) continue;
    *rest = slice_from(*rest, i + 1);
    *ret = value;
    return true;
  }
  return false;
}

static bool take_fixed(struct slice *rest, unsigned n_bytes, uint64_t *ret) {
  if (rest->len < n_bytes) return false;
  uint64_t value = 0;
  for (unsigned i = 0; i < n_bytes; i++) value |= (uint64_t)(unsigned char)rest->data[i] << (8 * i);
  *rest = slice_from(*rest, n_bytes);
  *ret = value;
  return true;
}

static bool take_bytes(struct slice *rest, struct slice *ret) {
  uint64_t len;
  if (!take_varint(rest, &len) || len > rest->len) return false;
  *ret = slice_make(rest->data, (size_t)len);
  *rest = slice_from(*rest, (size_t)len);
  return true;
}

int proto_next(struct slice *rest, struct proto_field *f) {
  uint64_t key;
  if (rest->len == 0) return 0;
  *f = (struct proto_field){0};
  if (!take_varint(rest, &key) || key >> 3 == 0 || key >> 3 >= 1u << 29) return -1;
  f->number = (uint32_t)(key >> 3);
  f->type = (enum proto_type)(key & 7);
  switch (f->type) {
    case PROTO_VARINT: return take_varint(rest, &f->value) ? 1 : -1;
    case PROTO_FIXED64: return take_fixed(rest, 8, &f->value) ? 1 : -1;
    case PROTO_BYTES: return take_bytes(rest, &f->bytes) ? 1 : -1;
    case PROTO_FIXED32: return take_fixed(rest, 4, &f->value) ? 1 : -1;
  }
  return -1;
}

float proto_float(const struct proto_field *f) {
  uint32_t bits = (uint32_t)f->value;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
