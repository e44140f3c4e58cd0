/* tiny_model: a small random Llama in a GGUF file, for tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H
enum { TINY_VOCAB = 320, TINY_WIDTH = 64, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_LAYERS = 3, TINY_FF = 96, TINY_CONTEXT = 256 };
/* Writes the file (Q4_1 layers, Q8_0 embedding that is the head too) under a temporary name; the path is new memory. unlink it.
 * window: of its attention; 0: none. */
char *tiny_model_write(unsigned seed, unsigned window);
/* The same with the scales of its matrices off by up to `noise`: it thinks much alike. And with a vocabulary of n_vocab tokens. */
char *tiny_model_write_like(unsigned seed, float noise, unsigned n_vocab);
#endif
