/* drive: an api between the fake net and the fake serving, and what the tests ask of it. SPDX-License-Identifier: Apache-2.0 */
#ifndef DRIVE_H
#define DRIVE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/js.h"
#include "fake_net.h"
#include "fake_serving.h"

struct drive {
  struct api *api;
  struct net *net;
  struct serving *serving;
  struct fake_serving *engine;
  struct exchange x;      /* the latest request */
  struct js *reply;       /* its body as JSON, or NULL */
  struct js *events[512]; /* of a stream, without [DONE] */
  size_t n_events;
  bool done_event; /* [DONE] came last */
};

int drive_setup(void **state);
int drive_teardown(void **state);

/* A whole request and all that follows from it. body NULL: a GET. Returns the status. */
int drive(struct drive *d, const char *method, const char *path, const char *body);
int drive_post(struct drive *d, const char *path, const char *body);
int drive_get(struct drive *d, const char *path);
/* Only the arrival; then drive_turn or drive_rest. */
void drive_arrive(struct drive *d, const char *method, const char *path, struct slice body);
/* What was posted and one step of the engine; false when nothing happened. */
bool drive_turn(struct drive *d);
void drive_rest(struct drive *d); /* to the end, then reads the reply */

/* Members by a path like "choices.0.message.content" of the reply, or of v. */
const struct js *drive_at(const struct js *v, const char *path);
void drive_str(const struct js *v, const char *path, const char *want);
void drive_int(const struct js *v, const char *path, int64_t want);
void drive_type(const struct js *v, const char *path, enum js_type want);
/* The text of a choice of the reply, or joined from the events; valid until the next call. */
const char *drive_text(struct drive *d, int index);
/* Status 400 in both dialects, the field named, the sentence holding words. */
void drive_refused(struct drive *d, const char *path, const char *body, const char *param, const char *words);

#endif
