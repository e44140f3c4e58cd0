/* proto: reads the wire format of Protocol Buffers, one field at a time. SPDX-License-Identifier: Apache-2.0
 *
 * A message is a run of fields: a key (number << 3 | type, a varint) and a value. A message inside a message is a run of bytes. */
#ifndef TEXT_PROTO_H
#define TEXT_PROTO_H
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum proto_type { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
  uint32_t number;
  enum proto_type type;
  uint64_t value;     /* of a varint or a fixed number */
  struct slice bytes; /* of PROTO_BYTES; a view into the message */
};

/* Takes the next field from the front of *rest. 1: got one; 0: *rest is empty; -1: broken, or a group, which is obsolete. */
int proto_next(struct slice *rest, struct proto_field *f);
/* The float of a PROTO_FIXED32 field. */
float proto_float(const struct proto_field *f);

#endif
