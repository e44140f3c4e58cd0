/* Frames from a broken process: read as the gateway and the engine read them. SPDX-License-Identifier: Apache-2.0 */
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sums every byte of what was decoded, so that a sanitizer sees a view that is wrong. */
static unsigned touch(struct slice s) {
  unsigned sum = 0;
  for (size_t i = 0; i < s.len; i++) sum += (unsigned char)s.data[i];
  return sum;
}

static unsigned touch_message(const struct wire_message *m) {
  unsigned sum = 0;
  switch (m->type) {
    case WIRE_LOAD: return touch(m->load.path);
    case WIRE_SUBMIT:
      for (size_t i = 0; i < m->submit.n_prompt; i++) sum += (unsigned)m->submit.prompt[i];
      for (size_t i = 0; i < m->submit.n_stops; i++) sum += touch(m->submit.stops[i]);
      sum += touch(slice_make(m->submit.stop_ids, m->submit.n_stop_ids * sizeof *m->submit.stop_ids));
      sum += touch(slice_make(m->submit.biases, m->submit.n_biases * sizeof *m->submit.biases));
      return sum;
    case WIRE_MODEL_READY: return touch(m->ready.architecture) + touch(m->ready.quantization);
    case WIRE_MODEL_FAILED: return touch(m->failed.message);
    case WIRE_REJECT: return touch(m->reject.message);
    case WIRE_STEP:
      for (size_t i = 0; i < m->step.n_events; i++) {
        const struct wire_event *e = &m->step.events[i];
        for (uint32_t k = 0; k < e->n_top; k++) sum += (unsigned)e->top[k].id;
        sum += touch(slice_make(e->embedding, e->n_embd * sizeof *e->embedding));
      }
      return sum;
    case WIRE_MACHINE:
    case WIRE_CANCEL:
    case WIRE_UNLOAD:
    case WIRE_MODEL_GONE:
    case WIRE_STOP: break;
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice left = slice_make(data, size);
  volatile unsigned sum = 0;
  struct wire_frame frame;
  size_t used;
  while (wire_frame_get(left, &frame, &used, NULL) == 1) {
    struct arena scratch = {0};
    struct wire_message m;
    if (wire_decode(&frame, &scratch, &m, NULL) == 0) sum += touch_message(&m);
    arena_free(&scratch);
    left = slice_from(left, used);
  }
  return 0;
}
