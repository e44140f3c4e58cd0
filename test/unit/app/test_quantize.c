/* Tests of `plinth quantize`: what it writes gives the source's logits, with every family's names and layouts. SPDX-License-Identifier: Apache-2.0
 * PLINTH names the program; the argument the folder of vectors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "../../vector/reference.h"
#include "base/mem.h"
#include "model/model.h"
#include "text/text.h"

enum { IDS_MAX = 256 };

static const char *vectors;
static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) && setenv("T", dir, 1) == 0 ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  return system("rm -rf \"$T\"");
}

/* Runs `plinth quantize SOURCE $T/out.gguf OPTIONS` on a copy without GGUF files; the exit code, and both streams in text. */
static int quantize(const char *source, const char *options, char text[4096]) {
  char command[1024];
  snprintf(command, sizeof command,
           "{ rm -rf %s/source && cp -r '%s/%s' %s/source && rm -f %s/source/*.gguf && '%s' quantize %s/source %s/out.gguf %s; } 2>&1", dir,
           vectors, source, dir, dir, getenv("PLINTH"), dir, dir, options);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(text, 1, 4095, f);
  text[n] = '\0';
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void must_quantize(const char *source, const char *options) {
  char text[4096];
  if (quantize(source, options, text) != 0) fail_msg("%s: %s", source, text);
}

struct loaded {
  struct file_model *file;
  struct pool *pool;
  struct compute *compute;
  struct model *model;
};

static struct loaded load_from(const char *name) {
  struct error err = {0};
  struct loaded l;
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  if (!(l.file = file_model_open(path, &err))) fail_msg("%s", err.message);
  l.pool = pool_create(1, &err);
  l.compute = compute_create(COMPUTE_F32, l.pool, COMPUTE_ISA_ALL, &err);
  if (!(l.model = model_load(l.file, l.compute, NULL, &err))) fail_msg("%s", err.message);
  return l;
}

static struct loaded load(void) { return load_from("out.gguf"); }

static void unload(struct loaded *l) {
  model_free(l->model);
  compute_destroy(l->compute);
  pool_destroy(l->pool);
  file_model_close(l->file);
}

static struct js *read_cases(const char *source) {
  struct buf folder = {0};
  buf_printf(&folder, "%s/%s", vectors, source);
  struct js *cases = reference_cases(folder.data);
  buf_free(&folder);
  return cases;
}

/* Of the last token; free them. */
static float *forward(const struct loaded *l, const int32_t *ids, size_t n) {
  struct kv_layout kv = model_kv_layout(l->model);
  void *pages[IDS_MAX / KV_PAGE_TOKENS];
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) pages[i] = mem_aligned(64, kv.page_bytes);
  float *logits = mem_alloc(model_info(l->model)->n_vocab * sizeof *logits);
  struct kv_segment segment = {.n_rows = n, .pages = pages};
  int32_t last = (int32_t)n - 1;
  model_forward(
      l->model,
      &(struct model_batch){
          .n_rows = n, .tokens = ids, .segments = &segment, .n_segments = 1, .out_rows = &last, .n_out_rows = 1, .logits = logits});
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) free(pages[i]);
  return logits;
}

static double last_logits(const struct loaded *l, const struct js *one) {
  int32_t ids[IDS_MAX];
  float *logits = forward(l, ids, reference_ids(js_get(one, "ids"), ids, IDS_MAX));
  double worst = (double)reference_difference(logits, js_get(one, "logits"));
  free(logits);
  return worst;
}

/* Free it. */
static float *embed(const struct loaded *l, const int32_t *ids, size_t n) {
  size_t offset[2] = {0, n};
  float *out = mem_alloc(model_info(l->model)->n_embd * sizeof *out);
  model_embed(l->model, ids, offset, 1, out);
  return out;
}

static double embedding(const struct loaded *l, const struct js *one) {
  int32_t ids[IDS_MAX];
  float *out = embed(l, ids, reference_ids(js_get(one, "ids"), ids, IDS_MAX));
  double worst = (double)reference_difference(out, js_get(one, "embedding"));
  free(out);
  return worst;
}

/* Quantizes the source to F32, which must keep what it computes. */
static void check_same(const char *source) {
  must_quantize(source, "--to f32 --no-certificate --force");
  struct loaded l = load();
  struct js *cases = read_cases(source);
  double worst = 0;
  bool embeds = model_info(l.model)->task == MODEL_EMBED;
  for (size_t i = 0; i < js_len(cases); i++)
    worst = fmax(worst, embeds ? embedding(&l, js_at(cases, i)) : last_logits(&l, js_at(cases, i)));
  print_message("%s: max abs error %g\n", source, worst);
  assert_true(worst <= 1e-4);
  js_free(cases);
  unload(&l);
}

static void a_llama_of_shards_keeps_its_logits(void **state) { (void)state, check_same("model/tiny/llama-untied-bf16-shards"); }
static void the_llama3_rope_rule_becomes_a_tensor(void **state) { (void)state, check_same("model/tiny/llama-llama3-rope"); }
static void the_linear_rope_rule_is_kept(void **state) { (void)state, check_same("model/tiny/llama-linear-rope"); }
static void biases_and_a_free_head_size_are_permuted(void **state) { (void)state, check_same("model/tiny/llama-bias-head-dim"); }
static void a_tied_head_stays_tied(void **state) { (void)state, check_same("model/tiny/llama-tied-f16"); }
static void a_sliding_window_is_kept(void **state) { (void)state, check_same("model/tiny/mistral-window"); }
static void experts_are_stacked(void **state) { (void)state, check_same("model/tiny/mixtral"); }
static void dbrx_turns_the_second_matrix_of_its_experts(void **state) { (void)state, check_same("model/tiny/dbrx"); }
static void experts_in_one_tensor_are_taken_apart(void **state) {
  (void)state;
  static const char *const sources[] = {"model/tiny/mixtral-fused-window", "checkpoint/fp8-block-experts", "checkpoint/fp8-halves-experts",
                                        "checkpoint/fp8-block-halves-experts", "checkpoint/fp8-dbrx-experts"};
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) check_same(sources[i]);
}
static void mpt_keeps_its_logits(void **state) { (void)state, check_same("model/tiny/mpt"); }
static void a_bert_drops_its_prefix_and_keeps_its_vectors(void **state) { (void)state, check_same("model/tiny/bert-cls-normalized"); }
static void an_mpt_with_a_head_of_its_own_keeps_it(void **state) { (void)state, check_same("model/tiny/mpt-untied"); }
static void a_bert_that_is_not_normalized_stays_so(void **state) { (void)state, check_same("model/tiny/bert-mean"); }

/* ---- what config.json says otherwise, or leaves out ---- */

/* Runs the command in a copy of the source, quantizes that to F32, and demands the same results of both. */
static void check_same_changed(const char *source, const char *change) {
  char command[1024];
  snprintf(command, sizeof command,
           "rm -rf %s/changed && cp -r '%s/%s' %s/changed && rm -f %s/changed/*.gguf && (cd %s/changed && LC_ALL=C %s) && "
           "'%s' quantize %s/changed %s/out.gguf --to f32 --no-certificate --force",
           dir, vectors, source, dir, dir, dir, change, getenv("PLINTH"), dir, dir);
  assert_int_equal(system(command), 0);
  struct loaded from = load_from("changed"), to = load();
  enum { N = 60 };
  int32_t ids[N];
  const struct model_info *info = model_info(from.model);
  for (size_t i = 0; i < N; i++) ids[i] = (int32_t)(i * 7 % info->n_vocab);
  bool embeds = info->task == MODEL_EMBED;
  float *want = embeds ? embed(&from, ids, N) : forward(&from, ids, N), *got = embeds ? embed(&to, ids, N) : forward(&to, ids, N),
        worst = 0;
  for (size_t i = 0; i < (embeds ? info->n_embd : info->n_vocab); i++) worst = fmaxf(worst, fabsf(want[i] - got[i]));
  print_message("%s, %s: max difference %g\n", source, change, (double)worst);
  assert_true(worst <= 1e-4f);
  assert_int_equal(info->window_tokens, model_info(to.model)->window_tokens);
  assert_int_equal(info->context_tokens, model_info(to.model)->context_tokens);
  free(want);
  free(got);
  unload(&from);
  unload(&to);
}

static void a_window_that_llama_does_not_use_is_not_written(void **state) {
  (void)state;
  check_same_changed("model/tiny/llama-untied-bf16-shards", "sed -i 's/\"hidden_act\"/\"sliding_window\": 8, &/' config.json");
}

static void the_window_that_mistral_has_without_the_key_is_written(void **state) {
  (void)state;
  check_same_changed("model/tiny/mistral-no-window", "sed -i '/\"sliding_window\"/d' config.json");
}

static void what_mixtral_has_without_the_keys_is_written(void **state) {
  (void)state;
  check_same_changed("model/tiny/mixtral", "sed -i 's/\"rms_norm_eps\"/\"x\"/; s/\"rope_parameters\"/\"y\"/' config.json");
}

static void the_epsilon_of_mpt_is_written(void **state) {
  (void)state;
  check_same_changed("model/tiny/mpt", "sed -i 's/\"layer_norm_epsilon\": 1e-05/\"layer_norm_epsilon\": 0.5/' config.json");
}

static void a_dbrx_without_a_limit_says_so(void **state) {
  (void)state;
  check_same_changed("model/tiny/dbrx", "sed -i 's/\"clip_qkv\": 1.0/\"clip_qkv\": null/' config.json");
  struct loaded l = load();
  double limit = 1;
  assert_true(gguf_f64(l.file->gguf, "dbrx.attention.clamp_kqv", &limit) && limit == 0);
  unload(&l);
}

static void a_window_that_others_may_ignore_is_told(void **state) {
  (void)state;
  char text[4096];
  assert_int_equal(quantize("model/tiny/mistral-window", "--to f32 --no-certificate --force", text), 0);
  assert_non_null(strstr(text, "the last 9 tokens only"));
  assert_int_equal(quantize("model/tiny/llama-tied-f16", "--to f32 --no-certificate --force", text), 0);
  assert_null(strstr(text, "tokens only"));
}

static void an_mpt_normalizes_q_and_k_out_of_the_file_too(void **state) {
  (void)state;
  check_same_changed("model/tiny/mpt-all-settings",
                     "sed -i 's/\"logit_scale\": 0.5/\"z\": 1/; s/\"softmax_scale\": 0.4/\"w\": 1/' config.json");
}

/* As the first BERT files have them; each name is as long as before, so the header stays valid. */
static void a_bert_with_older_names_of_norms_keeps_its_vectors(void **state) {
  (void)state;
  check_same_changed("model/tiny/bert-mean",
                     "sed -i 's/LayerNorm.weight\":/LayerNorm.gamma\" :/g; s/LayerNorm.bias\"/LayerNorm.beta\"/g' model.safetensors");
}

static void the_window_of_an_embedding_model_is_kept(void **state) {
  (void)state;
  check_same_changed("model/tiny/bert-mean", "echo '{\"max_seq_length\": 70}' > sentence_bert_config.json");
}

static void quantized_checkpoints_are_sources_too(void **state) {
  (void)state;
  check_same("checkpoint/gptq-4bit-act-order");
  check_same("checkpoint/awq");
  check_same("checkpoint/fp8-block");
}

/* As the reference reader demands: tensors in the order of the list, each where the padded one before ends. */
static void the_file_has_the_form_that_other_readers_demand(void **state) {
  (void)state;
  must_quantize("checkpoint/packed-int4", "--to q8_0 --no-certificate --force");
  struct loaded l = load();
  const struct gguf *g = l.file->gguf;
  const char *at = gguf_tensor_at(g, 0)->data;
  uint64_t type = 0, version = 0;
  for (size_t i = 0; i < gguf_n_tensors(g); i++) {
    const struct file_tensor *t = gguf_tensor_at(g, i);
    assert_ptr_equal(t->data, at);
    at += (t->n_bytes + 31) / 32 * 32;
    bool vector = t->rank == 1;
    assert_int_equal(t->dtype, vector ? DTYPE_F32 : DTYPE_Q8_0);
  }
  assert_true(gguf_u64(g, "general.file_type", &type) && type == 7);
  assert_true(gguf_u64(g, "general.quantization_version", &version) && version == 2);
  assert_int_equal(gguf_version(g), 3);
  unload(&l);
}

static void rows_that_do_not_fill_blocks_get_a_type_that_fits(void **state) {
  (void)state;
  must_quantize("model/tiny/llama-untied-bf16-shards", "--to q4_k --no-certificate --force"); /* rows of 48 and 64 */
  struct loaded l = load();
  assert_int_equal(file_model_tensor(l.file, "blk.0.attn_q.weight")->dtype, DTYPE_F16);
  assert_int_equal(file_model_tensor(l.file, "blk.0.ffn_down.weight")->dtype, DTYPE_Q5_0);
  assert_int_equal(file_model_tensor(l.file, "token_embd.weight")->dtype, DTYPE_F16);
  unload(&l);
}

static void a_file_that_is_there_stays_without_force(void **state) {
  (void)state;
  char text[4096];
  must_quantize("model/tiny/llama-tied-f16", "--to f16 --no-certificate --force");
  assert_int_equal(quantize("model/tiny/llama-tied-f16", "--to f16", text), 2);
  assert_non_null(strstr(text, "--force replaces it"));
}

static void a_model_without_tokenizer_gets_no_certificate_but_a_reason(void **state) {
  (void)state;
  char text[4096];
  assert_int_equal(quantize("model/tiny/llama-tied-f16", "--to q8_0 --force", text), 0);
  assert_non_null(strstr(text, "has no certificate"));
}

/* ---- tokenizers ---- */

/* A llama of zeros with so many tokens, in $T/bare, beside the vector folder's file tokenizer, there called name. */
static void write_bare_model(const char *tokenizer, const char *name, size_t n_vocab) {
  static const char *const square[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                       "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  struct buf header = {0}, file = {0}, config = {0};
  char command[512], path[128];
  size_t at = 32 * n_vocab * 4;
  snprintf(command, sizeof command, "rm -rf %s/bare && mkdir %s/bare && cp '%s/tokenizer/%s' %s/bare/%s", dir, dir, vectors, tokenizer, dir,
           name);
  assert_int_equal(system(command), 0);
  buf_printf(&header, "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,32],\"data_offsets\":[0,%zu]}", n_vocab, at);
  for (size_t i = 0; i < 7; i++, at += 4096)
    buf_printf(&header, ",\"model.layers.0.%s.weight\":{\"dtype\":\"F32\",\"shape\":[32,32],\"data_offsets\":[%zu,%zu]}", square[i], at,
               at + 4096);
  for (int i = 0; i < 3; i++, at += 128)
    buf_printf(&header, ",\"model.%s.weight\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[%zu,%zu]}",
               i == 0   ? "norm"
               : i == 1 ? "layers.0.input_layernorm"
                        : "layers.0.post_attention_layernorm",
               at, at + 128);
  buf_add_byte(&header, '}');
  uint64_t len = header.len;
  buf_add(&file, &len, 8);
  buf_add_slice(&file, buf_view(&header));
  memset(buf_reserve(&file, at), 0, at);
  buf_advance(&file, at);
  snprintf(path, sizeof path, "%s/bare/model.safetensors", dir);
  assert_int_equal(fs_write_atomic(path, buf_view(&file), 0600, NULL), 0);
  buf_printf(&config,
             "{\"model_type\":\"llama\",\"vocab_size\":%zu,\"hidden_size\":32,\"intermediate_size\":32,\"num_hidden_layers\":1,\"num_"
             "attention_heads\":2,"
             "\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"tie_word_embeddings\":true}",
             n_vocab);
  snprintf(path, sizeof path, "%s/bare/config.json", dir);
  assert_int_equal(fs_write_atomic(path, buf_view(&config), 0600, NULL), 0);
  buf_free(&header);
  buf_free(&file);
  buf_free(&config);
}

static struct tokenizer *open_tokenizer(const char *name) {
  struct error err = {0};
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  struct file_model *file = file_model_open(path, &err);
  struct tokenizer *t = file ? tokenizer_open(file, &err) : NULL;
  if (!t) fail_msg("%s", err.message);
  file_model_close(file);
  return t;
}

/* Quantizes $T/bare; the file gives the same ids. */
static void check_ids(const char *name) {
  assert_int_equal(system("\"$PLINTH\" quantize \"$T/bare\" \"$T/out.gguf\" --no-certificate --force"), 0);
  struct tokenizer *a = open_tokenizer("bare"), *b = open_tokenizer("out.gguf");
  static const char *const texts[] = {"", "a", "Hello  world 12345 don't I'LL",
                                      "na\xC3\xAFve caf\xC3\xA9 \xE2\x80\x94 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80\n\n  x\ty ",
                                      "<|endoftext|> <s> [CLS] what very</s>a <turn> b<p> c"};
  for (size_t i = 0; i < 2 * (sizeof texts / sizeof texts[0]); i++) {
    unsigned flags = TOKENIZER_ADD_SPECIAL | (i % 2 ? TOKENIZER_MATCH_SPECIAL : 0);
    struct ids x = {0}, y = {0};
    assert_int_equal(tokenizer_encode(a, slice_cstr(texts[i / 2]), flags, &x, NULL), 0);
    assert_int_equal(tokenizer_encode(b, slice_cstr(texts[i / 2]), flags, &y, NULL), 0);
    if (x.len != y.len || (x.len && memcmp(x.data, y.data, x.len * sizeof *x.data) != 0))
      fail_msg("%s: other ids for \"%s\"", name, texts[i / 2]);
    ids_free(&x);
    ids_free(&y);
  }
  tokenizer_close(a);
  tokenizer_close(b);
}

static void tokenizers_give_the_same_ids_out_of_the_file(void **state) {
  (void)state;
  static const char *const names[] = {"gpt2.json",   "llama2_legacy.json", "llama2_metaspace.json",
                                      "llama3.json", "neox.json",          "bert_cased.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    write_bare_model(names[i], "tokenizer.json", 700);
    check_ids(names[i]);
  }
}

static void write_config(const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/bare/tokenizer_config.json", dir);
  assert_int_equal(fs_write_atomic(path, slice_cstr(text), 0600, NULL), 0);
}

static int64_t type_of(const struct gguf *g, uint64_t id) { return gguf_array_i64(gguf_find(g, "tokenizer.ggml.token_type"), id); }

static void a_sentencepiece_model_alone_is_enough(void **state) {
  (void)state;
  static const char *const configs[] = {
      "{}", "{\"legacy\":false}", "{\"add_prefix_space\":false,\"add_bos_token\":false,\"add_eos_token\":true}",
      "{\"added_tokens_decoder\":{\"790\":{\"content\":\"<turn>\",\"special\":true},\"791\":{\"content\":\"<p>\",\"normalized\":false}}}"};
  for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
    write_bare_model("spm_bpe.model", "tokenizer.model", 800);
    write_config(configs[i]);
    check_ids(configs[i]);
  }
  struct loaded l = load();
  uint64_t unknown = 9;
  assert_int_equal(type_of(l.file->gguf, 0), 2); /* <unk> */
  assert_int_equal(type_of(l.file->gguf, 1), 3); /* <s> */
  assert_int_equal(type_of(l.file->gguf, 5), 4); /* [SEP] */
  assert_int_equal(type_of(l.file->gguf, 7), 6); /* <0x00> */
  assert_int_equal(type_of(l.file->gguf, 790), 3);
  assert_int_equal(type_of(l.file->gguf, 791), 4);
  assert_int_equal(type_of(l.file->gguf, 799), 5); /* a row without token */
  assert_true(gguf_u64(l.file->gguf, "tokenizer.ggml.unknown_token_id", &unknown) && unknown == 0);
  unload(&l);
}

static void the_templates_that_are_rendered_are_written(void **state) {
  (void)state;
  struct slice text = {0}, tools = {0};
  write_bare_model("gpt2.json", "tokenizer.json", 700);
  write_config("{\"chat_template\": \"of the config\"}");
  assert_int_equal(system("cd \"$T/bare\" && printf 'of the file' > chat_template.jinja && mkdir additional_chat_templates && "
                          "printf 'with tools' > additional_chat_templates/tool_use.jinja"),
                   0);
  check_ids("templates");
  struct loaded l = load();
  assert_true(gguf_str(l.file->gguf, "tokenizer.chat_template", &text) && slice_eq(text, SLICE("of the file")));
  assert_true(gguf_str(l.file->gguf, "tokenizer.chat_template.tool_use", &tools) && slice_eq(tools, SLICE("with tools")));
  unload(&l);
}

static void a_tiktoken_file_alone_is_enough(void **state) {
  (void)state;
  struct slice model = {0};
  write_bare_model("ranks.tiktoken", "tiktoken.model", 1200);
  write_config("{\"added_tokens_decoder\":{\"1190\":{\"content\":\"<|endoftext|>\",\"special\":true}},\"eos_token\":\"<|endoftext|>\"}");
  check_ids("ranks.tiktoken");
  struct loaded l = load();
  assert_true(gguf_str(l.file->gguf, "tokenizer.ggml.model", &model) && slice_eq(model, SLICE("gpt2")));
  assert_int_equal(type_of(l.file->gguf, 1190), 3);
  unload(&l);
}

/* GGUF's three keys do not suffice. */
static void all_end_of_generation_ids_are_kept(void **state) {
  (void)state;
  write_bare_model("llama3.json", "tokenizer.json", 700);
  assert_int_equal(system("echo '{\"eos_token_id\": [5, 17, 9, 33, 2]}' > \"$T/bare/generation_config.json\" && "
                          "\"$PLINTH\" quantize \"$T/bare\" \"$T/out.gguf\" --no-certificate --force"),
                   0);
  struct tokenizer *a = open_tokenizer("bare"), *b = open_tokenizer("out.gguf");
  size_t n_a, n_b, n_same = 0;
  const int32_t *x = tokenizer_stop_ids(a, &n_a), *y = tokenizer_stop_ids(b, &n_b);
  for (size_t i = 0; i < n_a; i++)
    for (size_t k = 0; k < n_b; k++) n_same += x[i] == y[k];
  assert_true(n_a >= 5 && n_b == n_a && n_same == n_a);
  tokenizer_close(a);
  tokenizer_close(b);
}

static void rows_of_the_embedding_without_a_token_are_no_text(void **state) {
  (void)state;
  static const char *const names[] = {"llama3.json", "llama2_legacy.json", "bert_cased.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    write_bare_model(names[i], "tokenizer.json", 1500);
    assert_int_equal(system("\"$PLINTH\" quantize \"$T/bare\" \"$T/out.gguf\" --no-certificate --force"), 0);
    struct tokenizer *t = open_tokenizer("out.gguf"), *from = open_tokenizer("bare");
    assert_true(tokenizer_n_vocab(from) < 1500);
    assert_int_equal(tokenizer_n_vocab(t), tokenizer_n_vocab(from));
    tokenizer_close(t);
    tokenizer_close(from);
  }
}

static void a_tokenizer_without_a_form_in_gguf_is_refused(void **state) {
  (void)state;
  write_bare_model("odd_added.json", "tokenizer.json", 700);
  assert_int_equal(WEXITSTATUS(system("\"$PLINTH\" quantize \"$T/bare\" \"$T/odd.gguf\" 2>&1 | grep -q 'no name for the normalizer'")), 0);
  write_bare_model("spm_unigram.model", "tokenizer.model", 700);
  assert_int_equal(WEXITSTATUS(system("\"$PLINTH\" quantize \"$T/bare\" \"$T/odd.gguf\" 2>&1 | grep -q 'type Unigram'")), 0);
  assert_int_equal(WEXITSTATUS(system("ls \"$T\" | grep -q odd.gguf")), 1); /* nor a temporary file */
}

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_llama_of_shards_keeps_its_logits),
      cmocka_unit_test(the_llama3_rope_rule_becomes_a_tensor),
      cmocka_unit_test(the_linear_rope_rule_is_kept),
      cmocka_unit_test(biases_and_a_free_head_size_are_permuted),
      cmocka_unit_test(a_tied_head_stays_tied),
      cmocka_unit_test(a_sliding_window_is_kept),
      cmocka_unit_test(experts_are_stacked),
      cmocka_unit_test(dbrx_turns_the_second_matrix_of_its_experts),
      cmocka_unit_test(experts_in_one_tensor_are_taken_apart),
      cmocka_unit_test(mpt_keeps_its_logits),
      cmocka_unit_test(a_bert_drops_its_prefix_and_keeps_its_vectors),
      cmocka_unit_test(a_bert_that_is_not_normalized_stays_so),
      cmocka_unit_test(an_mpt_with_a_head_of_its_own_keeps_it),
      cmocka_unit_test(a_dbrx_without_a_limit_says_so),
      cmocka_unit_test(a_window_that_others_may_ignore_is_told),
      cmocka_unit_test(an_mpt_normalizes_q_and_k_out_of_the_file_too),
      cmocka_unit_test(a_window_that_llama_does_not_use_is_not_written),
      cmocka_unit_test(the_window_that_mistral_has_without_the_key_is_written),
      cmocka_unit_test(what_mixtral_has_without_the_keys_is_written),
      cmocka_unit_test(the_epsilon_of_mpt_is_written),
      cmocka_unit_test(a_bert_with_older_names_of_norms_keeps_its_vectors),
      cmocka_unit_test(the_window_of_an_embedding_model_is_kept),
      cmocka_unit_test(quantized_checkpoints_are_sources_too),
      cmocka_unit_test(the_file_has_the_form_that_other_readers_demand),
      cmocka_unit_test(rows_that_do_not_fill_blocks_get_a_type_that_fits),
      cmocka_unit_test(tokenizers_give_the_same_ids_out_of_the_file),
      cmocka_unit_test(all_end_of_generation_ids_are_kept),
      cmocka_unit_test(rows_of_the_embedding_without_a_token_are_no_text),
      cmocka_unit_test(a_sentencepiece_model_alone_is_enough),
      cmocka_unit_test(the_templates_that_are_rendered_are_written),
      cmocka_unit_test(a_tiktoken_file_alone_is_enough),
      cmocka_unit_test(a_tokenizer_without_a_form_in_gguf_is_refused),
      cmocka_unit_test(a_file_that_is_there_stays_without_force),
      cmocka_unit_test(a_model_without_tokenizer_gets_no_certificate_but_a_reason),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
