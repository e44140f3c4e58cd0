/* tokenizer_tiktoken: see tokenizer_tiktoken.h. SPDX-License-Identifier: Apache-2.0
 *
 * A line is a token in base64, a space, and its rank, which is its id. There are no merges: the adjacent pair whose bytes together
 * are the token of the lowest rank is merged, leftmost first; a piece that is a token as it stands is taken at once. */
#include "text/tokenizer_tiktoken.h"

#include <stdio.h>

#include "text/base64.h"
#include "text/bytelevel.h"

enum { TOKENS_MAX = 1 << 24, N_CL100K = 100256, N_LLAMA3 = 128000, N_LLAMA3_SPECIAL = 256 };

/* ---- ranks ---- */

struct line {
  struct slice token; /* base64 */
  uint32_t rank;
};

/* Takes the next line that is not empty. 1: got one; 0: the end; -1: another format. */
static int next_line(struct slice *rest, struct line *line) {
  while (rest->len && (rest->data[0] == '\n' || rest->data[0] == '\r')) *rest = slice_from(*rest, 1);
  if (rest->len == 0) return 0;
  const char *space = memchr(rest->data, ' ', rest->len);
  if (!space || space == rest->data) return -1;
  line->token = slice_make(rest->data, (size_t)(space - rest->data));
  *rest = slice_from(*rest, line->token.len + 1);
  uint32_t rank = 0;
  size_t n = 0;
  for (; n < rest->len && rest->data[n] >= '0' && rest->data[n] <= '9'; n++) {
    rank = rank * 10 + (uint32_t)(rest->data[n] - '0');
    if (rank >= TOKENS_MAX) return -1;
  }
  *rest = slice_from(*rest, n);
  line->rank = rank;
  return n && (rest->len == 0 || rest->data[0] == '\n' || rest->data[0] == '\r') ? 1 : -1;
}

bool tokenizer_tiktoken_is(struct slice file) {
  struct line line;
  struct buf bytes = {0};
  bool is = next_line(&file, &line) > 0 && line.token.len <= 1024 && base64_decode(line.token, &bytes);
  buf_free(&bytes);
  return is;
}

static int read_token(struct tokenizer *t, const struct line *line, struct buf *bytes, struct buf *text, struct error *err) {
  buf_clear(bytes);
  buf_clear(text);
  if (!base64_decode(line->token, bytes) || bytes->len == 0)
    return error_set(err, ERROR_CORRUPT, "The token of rank %u is no base64 text.", line->rank);
  bytelevel_map(buf_view(bytes), text);
  if (text->len > BPE_TOKEN_BYTES_MAX)
    return error_set(err, ERROR_TOO_LARGE, "The token of rank %u is longer than %d bytes.", line->rank, BPE_TOKEN_BYTES_MAX / 2);
  if (vocab_find(&t->vocab, buf_view(text)) >= 0)
    return error_set(err, ERROR_CORRUPT, "The token of rank %u stands in the file twice.", line->rank);
  return vocab_put(&t->vocab, buf_view(text), line->rank, err);
}

static int read_ranks(struct tokenizer *t, struct slice file, struct error *err) {
  struct buf bytes = {0}, text = {0};
  struct line line;
  vocab_init(&t->vocab, file.len / 12, file.len);
  int rc = 0, more = 0;
  while (rc == 0 && (more = next_line(&file, &line)) > 0) rc = read_token(t, &line, &bytes, &text, err);
  buf_free(&bytes);
  buf_free(&text);
  if (rc < 0) return -1;
  if (more < 0)
    return error_set(err, ERROR_CORRUPT, "Line %u of the tiktoken file is not a token in base64, a space and a rank.",
                     t->vocab.n_strings + 1);
  return 0;
}

static int build_model(struct tokenizer *t, struct error *err) {
  t->model = TOKENIZER_BPE;
  t->source.kind = SOURCE_TIKTOKEN;
  bpe_init(&t->bpe, &t->vocab, 0);
  for (int byte = 0; byte < 256; byte++)
    if (t->bpe.byte_ids[byte] < 0)
      return error_set(err, ERROR_CORRUPT, "The tiktoken file has no token for the byte %d, so that not every text could be encoded.",
                       byte);
  t->bpe.ignore_merges = true;
  for (uint32_t id = 0; id < t->vocab.n_ids; id++)
    if (vocab_has(&t->vocab, (int32_t)id)) bpe_add_splits(&t->bpe, (int32_t)id, id, NULL);
  struct regex *pattern = regex_compile(slice_cstr(regex_llama3), err);
  if (!pattern) return -1;
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_SPLIT, .behavior = PRETOK_ISOLATED, .pattern = pattern});
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_BYTE_MAP});
  t->decoder.bytes = DECODER_ALL_BYTES;
  return 0;
}

/* ---- special tokens of files that stand alone ---- */

static int add_special(struct tokenizer *t, const char *content, int32_t id, struct error *err) {
  return added_put(&t->added, (struct added_token){.content = slice_cstr(content), .id = id, .special = true}, err);
}

static int add_llama3(struct tokenizer *t, struct error *err) {
  static const char *const names[11] = {"<|begin_of_text|>",
                                        "<|end_of_text|>",
                                        "<|reserved_special_token_0|>",
                                        "<|reserved_special_token_1|>",
                                        "<|finetune_right_pad_id|>",
                                        "<|reserved_special_token_2|>",
                                        "<|start_header_id|>",
                                        "<|end_header_id|>",
                                        "<|eom_id|>",
                                        "<|eot_id|>",
                                        "<|python_tag|>"};
  for (int i = 0; i < N_LLAMA3_SPECIAL; i++) {
    char name[40];
    if (i < 11) snprintf(name, sizeof name, "%s", names[i]);
    else snprintf(name, sizeof name, "<|reserved_special_token_%d|>", i - 8);
    if (add_special(t, name, N_LLAMA3 + i, err) < 0) return -1;
  }
  t->bos = N_LLAMA3;
  t->eos = N_LLAMA3 + 1;
  return 0;
}

static int add_cl100k(struct tokenizer *t, struct error *err) {
  static const struct {
    const char *name;
    int32_t id;
  } tokens[] = {{"<|endoftext|>", 100257},
                {"<|fim_prefix|>", 100258},
                {"<|fim_middle|>", 100259},
                {"<|fim_suffix|>", 100260},
                {"<|endofprompt|>", 100276}};
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
    if (add_special(t, tokens[i].name, tokens[i].id, err) < 0) return -1;
  t->eos = tokens[0].id;
  return 0;
}

/* Llama 3 and cl100k are known by their size; what tokenizer_config.json lists comes first. */
static int add_tokens(struct tokenizer *t, const struct tokenizer_files *beside, struct error *err) {
  bool listed = js_len(js_get(beside->config, "added_tokens_decoder")) || js_len(beside->added);
  if (!listed && t->vocab.n_ids == N_LLAMA3 && add_llama3(t, err) < 0) return -1;
  if (!listed && t->vocab.n_ids == N_CL100K && add_cl100k(t, err) < 0) return -1;
  if (tokenizer_config_added(t, beside, err) < 0) return -1;
  if (t->vocab.n_ids != N_LLAMA3) return 0;
  t->bos = tokenizer_find(t, SLICE("<|begin_of_text|>"));
  if (t->bos >= 0) ids_add(&t->post.before, t->bos);
  return 0;
}

int tokenizer_tiktoken_read(struct tokenizer *t, struct slice file, const struct tokenizer_files *beside, struct error *err) {
  if (read_ranks(t, file, err) < 0 || build_model(t, err) < 0) return -1;
  return add_tokens(t, beside, err);
}
