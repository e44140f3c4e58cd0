/* wire_io: frames through a stream socket, without blocking. SPDX-License-Identifier: Apache-2.0
 *
 * Bytes that were handed out or sent stay at the front of their buffer until the next call that may move them, so that a view of a
 * frame stays good while the frame is worked on. Memory is bounded by the largest frame plus one read; what is unsent is for the caller to
 * watch (wire_io_unsent). */
#include <errno.h>
#include <sys/socket.h>

#include "wire/wire.h"

enum { READ_BYTES = 256 << 10, READS_MAX = 4 };

/* Buffers that grew for one large frame do not keep the memory. */
enum { KEEP_BYTES = 1 << 20 };

static void drop_front(struct buf *b, size_t *used) {
  if (*used == b->len && b->cap > KEEP_BYTES) buf_free(b);
  else buf_drop_front(b, *used);
  *used = 0;
}

void wire_io_free(struct wire_io *io) {
  buf_free(&io->in);
  buf_free(&io->out);
  io->in_used = io->out_sent = 0;
}

int wire_io_read(struct wire_io *io, struct error *err) {
  if (io->in_used) drop_front(&io->in, &io->in_used);
  for (int i = 0; i < READS_MAX; i++) {
    char *to = buf_reserve(&io->in, READ_BYTES);
    ssize_t n = recv(io->fd, to, READ_BYTES, MSG_DONTWAIT);
    if (n > 0) buf_advance(&io->in, (size_t)n);
    if (n == READ_BYTES || (n < 0 && errno == EINTR)) continue;
    if (n > 0) return 1;
    if (n == 0 || errno == ECONNRESET) return i > 0 ? 1 : error_set(err, ERROR_UNAVAILABLE, "The other process has closed its end.");
    if (errno == EAGAIN || errno == EWOULDBLOCK) return i > 0;
    return error_set(err, ERROR_IO, "Cannot read from the other process: %s.", strerror(errno));
  }
  return 1;
}

int wire_io_next(struct wire_io *io, struct wire_frame *ret_frame, struct error *err) {
  size_t used = 0;
  int result = wire_frame_get(slice_from(buf_view(&io->in), io->in_used), ret_frame, &used, err);
  io->in_used += used;
  return result;
}

int wire_io_flush(struct wire_io *io, struct error *err) {
  while (io->out_sent < io->out.len) {
    ssize_t n = send(io->fd, io->out.data + io->out_sent, io->out.len - io->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      io->out_sent += (size_t)n;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    return error_set(err, ERROR_UNAVAILABLE, "The other process does not read any more: %s.", strerror(errno));
  }
  if (io->out_sent == io->out.len || io->out_sent > KEEP_BYTES) drop_front(&io->out, &io->out_sent);
  return 0;
}

size_t wire_io_unsent(const struct wire_io *io) { return io->out.len - io->out_sent; }
