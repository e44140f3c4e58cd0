/* Any template on any context: parsed and rendered within limits, without a crash, a leak or a mark out of place.
 * Input: the template, and behind a NUL byte the context as JSON (without one: a context of its own). Each is rendered as it is, as a chat,
 * and as a chat that ends inside its last message. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/jinja_private.h"

static const char own_context[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi \\u00e9\"},{\"role\":\"assistant\",\"content\":null}],\"x\":\"Hello "
    "World\",\"n\":5,"
    "\"f\":2.5,\"l\":[3,1,2],\"d\":{\"b\":1,\"a\":[1,2,{\"z\":null}]},\"t\":true,\"tools\":[{\"name\":\"f\"}],\"s\":[\"b\",\"A\","
    "\"\\u00df\"]}";

static void check(const struct buf *out, const struct jinja_marks *marks) {
  if (!utf8_valid(buf_view(out))) abort();
  for (size_t i = 0; i < marks->n; i++) {
    struct jinja_span s = marks->spans[i];
    if (s.begin >= s.end || s.end > out->len || (i && s.begin <= marks->spans[i - 1].end)) abort();
    if (!utf8_valid(slice_make(out->data + s.begin, s.end - s.begin))) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice input = slice_make(data, size), template = input, json = SLICE(own_context);
  const char *nul = size ? memchr(input.data, '\0', size) : NULL;
  if (nul) {
    template.len = (size_t)(nul - input.data);
    json = slice_from(input, template.len + 1);
  }
  struct jinja_limits limits = {.steps_max = 20000, .output_bytes_max = 1 << 20};
  struct error err = {0};
  struct js *context = js_parse(json, &err);
  struct jinja *j = context ? jinja_parse(template, &err) : NULL;
  if (context && !j && !err.message[0]) abort();
  for (int way = 0; j && way < 3; way++) {
    struct buf out = {0};
    struct jinja_marks marks = {0};
    struct jinja_job job = {
        .context = context, .limits = &limits, .out = &out, .marks = &marks, .chat = way > 0, .continue_final = way > 1};
    err = (struct error){0};
    if (jinja_run_job(j, &job, &err) == 0) check(&out, &marks);
    else if (!err.message[0]) abort();
    jinja_marks_free(&marks);
    buf_free(&out);
  }
  jinja_free(j);
  js_free(context);
  return 0;
}
