/* reply: the JSON of answers, whole and in pieces, in either dialect. Private to api. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_REPLY_H
#define API_REPLY_H
#include "api/call.h"

/* The whole body of a chat or completion whose choices are done. */
void reply_generation(struct call *c, struct buf *out);
/* The whole body of an embedding call. Any thread: reads only what no longer changes. */
void reply_embeddings(const struct call *c, struct buf *out);

/* The events of a stream, appended to out. */
void reply_stream_begin(struct call *c, struct buf *out);                    /* what stands before a first piece */
void reply_stream_piece(struct call *c, struct choice *ch, struct buf *out); /* what ch has not sent yet; nothing when there is nothing */
void reply_stream_finish(struct call *c, struct choice *ch, struct buf *out);
void reply_stream_end(struct call *c, struct buf *out); /* usage when asked for, and [DONE] */

#endif
