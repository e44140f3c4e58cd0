/* tiny_model: see tiny_model.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiny_model.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/dtype.h"
#include "base/mem.h"

enum { GGUF_U32_TYPE = 4, GGUF_F32_TYPE = 6, GGUF_STRING_TYPE = 8, GGML_F32 = 0, GGML_Q4_1 = 3, GGML_Q8_0 = 8 };

struct writer {
  struct buf header, data;
  uint32_t random, random_noise;
  float noise;
};

static uint32_t next(struct writer *w) { return w->random = w->random * 1664525u + 1013904223u; }
static void put_u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
static void put_u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }

static void put_string(struct buf *b, const char *s) {
  put_u64(b, strlen(s));
  buf_add_cstr(b, s);
}

static void value_u32(struct buf *b, const char *key, uint32_t v) {
  put_string(b, key);
  put_u32(b, GGUF_U32_TYPE);
  put_u32(b, v);
}

static void value_f32(struct buf *b, const char *key, float v) {
  put_string(b, key);
  put_u32(b, GGUF_F32_TYPE);
  buf_add(b, &v, sizeof v);
}

static void put_half(struct writer *w, float scale) {
  w->random_noise = w->random_noise * 1664525u + 1013904223u;
  scale *= 1 + w->noise * (float)(int32_t)w->random_noise * 0x1p-31f;
  uint16_t half = dtype_f32_to_f16(scale * (0.5f + (float)(next(w) >> 8) * 0x1p-24f));
  buf_add(&w->data, &half, 2);
}

static void put_blocks(struct writer *w, int type, uint64_t n) {
  for (uint64_t i = 0; i < n; i += type == GGML_F32 ? 1 : 32) {
    if (type == GGML_F32) {
      float one = 1.0f + (float)(int32_t)next(w) * 0x1p-34f;
      buf_add(&w->data, &one, 4);
      continue;
    }
    put_half(w, type == GGML_Q8_0 ? 0.002f : 0.03f);
    if (type == GGML_Q4_1) {
      uint16_t minimum = dtype_f32_to_f16(-0.22f);
      buf_add(&w->data, &minimum, 2);
    }
    for (int k = 0; k < (type == GGML_Q8_0 ? 32 : 16); k++) buf_add_byte(&w->data, (unsigned char)(next(w) >> 24));
  }
  while (w->data.len % 32) buf_add_byte(&w->data, 0);
}

/* rows 0: a vector. */
static void tensor(struct writer *w, const char *name, int type, uint64_t rows, uint64_t n) {
  put_string(&w->header, name);
  put_u32(&w->header, rows ? 2 : 1);
  put_u64(&w->header, n);
  if (rows) put_u64(&w->header, rows);
  put_u32(&w->header, (uint32_t)type);
  put_u64(&w->header, w->data.len);
  put_blocks(w, type, n * (rows ? rows : 1));
}

static void layer(struct writer *w, int n) {
  static const struct {
    const char *name;
    int type, rows, n;
  } tensors[] = {
      {"attn_norm", GGML_F32, 0, TINY_WIDTH},
      {"attn_q", GGML_Q4_1, TINY_WIDTH, TINY_WIDTH},
      {"attn_k", GGML_Q4_1, TINY_WIDTH / TINY_HEADS * TINY_KV_HEADS, TINY_WIDTH},
      {"attn_v", GGML_Q4_1, TINY_WIDTH / TINY_HEADS * TINY_KV_HEADS, TINY_WIDTH},
      {"attn_output", GGML_Q4_1, TINY_WIDTH, TINY_WIDTH},
      {"ffn_norm", GGML_F32, 0, TINY_WIDTH},
      {"ffn_gate", GGML_Q4_1, TINY_FF, TINY_WIDTH},
      {"ffn_up", GGML_Q4_1, TINY_FF, TINY_WIDTH},
      {"ffn_down", GGML_Q4_1, TINY_WIDTH, TINY_FF},
  };
  for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", n, tensors[i].name);
    tensor(w, name, tensors[i].type, (uint64_t)tensors[i].rows, (uint64_t)tensors[i].n);
  }
}

static void metadata(struct buf *b, unsigned window) {
  put_string(b, "general.architecture");
  put_u32(b, GGUF_STRING_TYPE);
  put_string(b, "llama");
  value_u32(b, "llama.block_count", TINY_LAYERS);
  value_u32(b, "llama.embedding_length", TINY_WIDTH);
  value_u32(b, "llama.attention.head_count", TINY_HEADS);
  value_u32(b, "llama.attention.head_count_kv", TINY_KV_HEADS);
  value_u32(b, "llama.feed_forward_length", TINY_FF);
  value_u32(b, "llama.context_length", TINY_CONTEXT);
  value_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
  if (window) value_u32(b, "llama.attention.sliding_window", window);
}

static char *write_model(struct writer w, unsigned window, unsigned n_vocab) {
  buf_add_cstr(&w.header, "GGUF");
  put_u32(&w.header, 3);
  put_u64(&w.header, 2 + 9 * TINY_LAYERS);
  put_u64(&w.header, window ? 9 : 8);
  metadata(&w.header, window);
  tensor(&w, "token_embd.weight", GGML_Q8_0, n_vocab, TINY_WIDTH);
  for (int i = 0; i < TINY_LAYERS; i++) layer(&w, i);
  tensor(&w, "output_norm.weight", GGML_F32, 0, TINY_WIDTH);
  while (w.header.len % 32) buf_add_byte(&w.header, 0);
  char *path = mem_strdup("/tmp/plinth-tiny-XXXXXX");
  int fd = mkstemp(path);
  assert(fd >= 0);
  ssize_t a = write(fd, w.header.data, w.header.len), b = write(fd, w.data.data, w.data.len);
  assert(a == (ssize_t)w.header.len && b == (ssize_t)w.data.len);
  close(fd);
  buf_free(&w.header);
  buf_free(&w.data);
  return path;
}

char *tiny_model_write(unsigned seed, unsigned window) { return write_model((struct writer){.random = seed}, window, TINY_VOCAB); }

char *tiny_model_write_like(unsigned seed, float noise, unsigned n_vocab) {
  return write_model((struct writer){.random = seed, .noise = noise}, 0, n_vocab);
}
