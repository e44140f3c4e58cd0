/* Tests of render, chat, complete and embed as programs. Those that need a model skip where the default models are missing.
 * PLINTH names the program. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) && setenv("T", dir, 1) == 0 && unsetenv("PLINTH_URL") == 0 && unsetenv("PLINTH_MODEL") == 0 ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  return system("rm -rf \"$T\"");
}

static void put(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(fs_write_atomic(path, slice_cstr(text), 0600, NULL), 0);
}

/* Runs a shell command in which $P is the program; standard output in *text until the next call. */
static int run(const char *command, const char **text) {
  static char output[1 << 18];
  setenv("P", getenv("PLINTH"), 1);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(output, 1, sizeof output - 1, f);
  output[n] = '\0';
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  *text = output;
  return WEXITSTATUS(status);
}

static void expect(const char *command, int code, const char *wanted) {
  const char *text;
  int got = run(command, &text);
  if (got != code || strcmp(text, wanted) != 0) fail_msg("%s: exit %d (not %d), \"%s\", not \"%s\"", command, got, code, text, wanted);
}

static void expect_part(const char *command, int code, const char *part) {
  const char *text;
  int got = run(command, &text);
  if (got != code || !strstr(text, part)) fail_msg("%s: exit %d (not %d), \"%s\" lacks \"%s\"", command, got, code, text, part);
}

static bool have_models(void) {
  const char *text;
  return run("cd \"${XDG_DATA_HOME:-$HOME/.local/share}/plinth/models\" 2>/dev/null && "
             "test -e smollm2-135m-instruct && test -e all-minilm-l6-v2",
             &text) == 0;
}
#define NEEDS_MODELS()          \
  do {                          \
    (void)state;                \
    if (!have_models()) skip(); \
  } while (0)

static void render_prints_the_text_and_nothing_else(void **state) {
  (void)state;
  put("t.jinja", "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}{{ tools is defined }}\n");
  put("c.json", "{\"messages\": [{\"role\": \"user\", \"content\": \"h\xC3\xA9\"}]}");
  expect("\"$P\" render --template $T/t.jinja --input $T/c.json", 0, "[user: h\xC3\xA9]False");
  expect("\"$P\" render --template $T/t.jinja < $T/c.json", 0, "[user: h\xC3\xA9]False");
}

static void render_says_what_is_wrong(void **state) {
  (void)state;
  put("broken.jinja", "a\n{{ x");
  put("raises.jinja", "{{ raise_exception('no ' ~ x) }}");
  put("c.json", "{\"x\": 1}");
  expect_part("\"$P\" render --template $T/broken.jinja -i $T/c.json 2>&1", 1, "line 2");
  expect_part("\"$P\" render --template $T/raises.jinja -i $T/c.json 2>&1", 1, "plinth: no 1\n");
  expect_part("\"$P\" render --template $T/c.json -i $T/missing.json 2>&1", 1, "missing.json");
  expect_part("echo '[1' | \"$P\" render --template $T/c.json 2>&1", 1, "Standard input");
  expect_part("echo '[1]' | \"$P\" render --template $T/c.json 2>&1", 1, "must be a JSON object");
  expect_part("\"$P\" render 2>&1", 2, "--template");
}

static void render_uses_a_models_own_template(void **state) {
  NEEDS_MODELS();
  put("c.json", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}");
  expect("\"$P\" render --model smollm2-135m-instruct --input $T/c.json", 0,
         "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
         "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

static void complete_takes_its_prompt_from_the_argument_or_standard_input(void **state) {
  NEEDS_MODELS();
  expect_part("\"$P\" complete -t 0 -n 4 'The capital of France is'", 0, " Paris.");
  expect_part("printf 'The capital of France is' | \"$P\" complete -t 0 -n 4", 0, " Paris.");
  expect("\"$P\" complete -t 0 -n 20 --stop . 'The capital of France is'", 0, " Paris");
  expect("\"$P\" complete -t 0 -n 20 --stop . --echo 'The capital of France is'", 0, "The capital of France is Paris");
  expect_part("\"$P\" complete < /dev/null 2>&1", 1, "prompt is empty");
}

/* 7042 is " Paris", 30 a full stop. */
static void complete_takes_every_field_of_the_sampling(void **state) {
  NEEDS_MODELS();
  expect_part("\"$P\" complete -t 0 -n 4 --logit-bias 7042=-100 --logit-bias 1=0.5 'The capital of France is' | grep -c Paris", 1, "0");
  expect("\"$P\" complete -t 0 -n 20 --stop-token-id 30 'The capital of France is'", 0, " Paris");
  expect_part("\"$P\" complete -t 0 -n 20 --stop-token-id 30 --min-tokens 3 'The capital of France is'", 0, " Paris");
  expect_part("\"$P\" complete -t 0 -n 20 --stop . --min-tokens 2 'The capital of France is'", 0, " Paris.");
  expect_part("\"$P\" complete -n 9 --seed 1 --min-p 1 --presence-penalty -1 --frequency-penalty -0.5 'The capital of France is'", 0,
              " Paris.");
  expect_part("\"$P\" complete -t 0 -n 3 --repetition-penalty 0.01 'Paris is Paris is Paris is'", 0, " Paris is Paris");
}

static void kernels_can_be_chosen_and_the_answer_stays_the_same(void **state) {
  NEEDS_MODELS();
  expect_part("\"$P\" complete --kernels ref -t 0 -n 4 'The capital of France is'", 0, " Paris.");
  expect_part("PLINTH_KERNELS=ref \"$P\" complete -t 0 -n 4 'The capital of France is'", 0, " Paris.");
  expect("\"$P\" embed hi > $T/a && \"$P\" embed --kernels ref hi | cmp - $T/a", 0, "");
  for (const char *const *name = (const char *const[]){"chat", "complete", "embed", "eval x", NULL}; *name; name++) {
    char command[128];
    snprintf(command, sizeof command, "\"$P\" %s --kernels none 2>&1", *name);
    expect_part(command, 2, "kernels");
    expect_part(command, 2, "auto");
  }
}

static void sampling_that_is_none_is_refused_with_a_sentence(void **state) {
  (void)state;
  expect_part("\"$P\" complete --logit-bias 1 x 2>&1", 2, "\"1\" is no bias");
  expect_part("\"$P\" complete --logit-bias -1=1 x 2>&1", 2, "is no bias");
  expect_part("\"$P\" complete --logit-bias 1=2x x 2>&1", 2, "is no bias");
  expect_part("\"$P\" complete --logit-bias 1=nan x 2>&1", 2, "from -100 to 100");
  expect_part("\"$P\" complete --logit-bias 1=1 --logit-bias 1=2 x 2>&1", 2, "two biases");
  expect_part("\"$P\" complete --stop-token-id 1.5 x 2>&1", 2, "\"1.5\" is no id");
  expect_part("\"$P\" complete --min-tokens 5 -n 4 x 2>&1", 2, "--min-tokens (5) must be at most --max-tokens (4)");
  expect_part("\"$P\" complete --presence-penalty 3 x 2>&1", 2, "presence-penalty");
  expect_part("\"$P\" complete --repetition-penalty 0 x 2>&1", 2, "repetition-penalty");
}

/* Tokenizers would take U+FFFD for such bytes: the answer would be to another text. */
static void text_that_is_not_utf8_is_refused_everywhere(void **state) {
  NEEDS_MODELS();
  expect_part("printf 'a\\377' | \"$P\" tokenize -m smollm2-135m-instruct 2>&1", 1, "not valid UTF-8: byte 0xFF at offset 1");
  expect_part("printf 'a\\377' | \"$P\" complete -n 1 2>&1", 1, "not valid UTF-8");
  expect_part("\"$P\" complete -n 1 \"$(printf '\\303')\" 2>&1", 1, "not valid UTF-8");
  expect_part("printf 'fine\\n\\355\\240\\200\\n' | \"$P\" embed 2>&1", 1, "Text 2: The text is not valid UTF-8");
  expect_part("printf '\\377\\n' | \"$P\" chat 2>&1", 1, "not valid UTF-8");
  expect_part("printf '\\377' > $T/bad; \"$P\" eval smollm2-135m-instruct --text $T/bad 2>&1", 1, "bad: The text is not valid UTF-8");
  expect_part("echo {} | \"$P\" render --template $T/bad 2>&1", 1, "bad: The text is not valid UTF-8");
}

static void a_word_behind_a_slash_is_no_message(void **state) {
  NEEDS_MODELS();
  expect("printf '/claer\\n   \\n\\t\\n' | \"$P\" chat 2>&1", 0, "[there is no command /claer; /help lists them]\n");
  expect_part("printf '/etc/hosts\\n' | \"$P\" chat -t 0 -n 1 2>/dev/null | wc -l", 0, "1");
}

static void chat_notices_a_full_disk(void **state) {
  NEEDS_MODELS();
  expect_part("echo hi | \"$P\" chat -n 2 2>&1 >/dev/full", 1, "Cannot write to standard output");
}

static void chat_notices_an_input_that_cannot_be_read(void **state) {
  NEEDS_MODELS();
  expect_part("\"$P\" chat 2>&1 </", 1, "Cannot read standard input: Is a directory.");
  expect_part("\"$P\" chat 2>&1 <&-", 1, "Cannot read standard input: Bad file descriptor.");
}

/* An engine of one's own needs pages for one conversation, not a quarter of the machine. */
static void a_conversation_fits_into_half_a_gigabyte(void **state) {
  NEEDS_MODELS();
  const char *text;
  if (run("ulimit -v 524288; \"$P\" --version 2>&1", &text) != 0) skip(); /* a sanitizer maps more than that for itself */
  expect_part("ulimit -v 524288; \"$P\" complete --threads 2 -t 0 -n 4 'The capital of France is'", 0, " Paris.");
}

static void a_model_that_cannot_be_read_is_named(void **state) {
  (void)state;
  expect_part("mkdir -p $T/m && echo GGUF > $T/m/broken.gguf; \"$P\" complete --models-dir $T/m hi 2>&1", 1, "Not readable: ");
}

static void a_seed_below_zero_is_refused(void **state) {
  (void)state;
  expect_part("\"$P\" complete --seed -1 hi 2>&1", 2, "--seed must be at least 0; it is -1.");
}

static void the_same_seed_gives_the_same_text(void **state) {
  NEEDS_MODELS();
  char first[4096];
  const char *text;
  assert_int_equal(run("\"$P\" complete -t 1 --seed 7 -n 16 'Once upon'", &text), 0);
  snprintf(first, sizeof first, "%s", text);
  expect("\"$P\" complete -t 1 --seed 7 -n 16 'Once upon'", 0, first);
}

static void chat_keeps_the_conversation_until_it_is_cleared(void **state) {
  NEEDS_MODELS();
  const char *text;
  char first[4096];
  assert_int_equal(run("echo 'What is 2+2?' | \"$P\" chat -t 0 -n 24", &text), 0);
  snprintf(first, sizeof first, "%s", text);
  assert_true(first[0] && first[strlen(first) - 1] == '\n');
  /* After /clear the same question gets the same answer; without, another conversation is told. */
  assert_int_equal(run("printf 'What is 2+2?\\n/clear\\n\\nWhat is 2+2?\\n/exit\\nnever read' | \"$P\" chat -t 0 -n 24", &text), 0);
  size_t len = strlen(first);
  assert_int_equal(strlen(text), 2 * len);
  assert_memory_equal(text, first, len);
  assert_memory_equal(text + len, first, len);
  assert_int_equal(run("printf 'And times three?\\n' | \"$P\" chat -t 0 -n 24", &text), 0);
  snprintf(first, sizeof first, "%s", text);
  assert_int_equal(run("printf 'What is 2+2?\\nAnd times three?\\n' | \"$P\" chat -t 0 -n 24", &text), 0);
  assert_true(strlen(text) > len && strcmp(text + len, first) != 0);
}

static void a_model_of_another_task_is_refused(void **state) {
  NEEDS_MODELS();
  expect_part("echo hi | \"$P\" chat -m all-minilm-l6-v2 2>&1", 1, "makes embeddings");
  expect_part("\"$P\" embed -m smollm2-135m-instruct hi 2>&1", 1, "generates text");
}

static void embed_prints_one_vector_a_line_in_the_order_of_the_texts(void **state) {
  NEEDS_MODELS();
  static char by_operand[1 << 16];
  const char *text;
  assert_int_equal(run("\"$P\" embed 'first text' '' 'second text'", &text), 0);
  snprintf(by_operand, sizeof by_operand, "%s", text);
  expect("printf 'first text\\r\\n\\nsecond text' | \"$P\" embed", 0, by_operand);
  int lines = 0;
  for (char *line = strtok(by_operand, "\n"); line; line = strtok(NULL, "\n"), lines++) {
    struct js *v = js_parse(slice_cstr(line), NULL);
    assert_int_equal(js_len(v), 384);
    js_free(v);
  }
  assert_int_equal(lines, 3);
  expect_part("\"$P\" embed \"$(yes word | head -n 600)\" 2>&1", 1, "Text 1: It has 602 tokens; the model takes 256.");
}

static void a_server_that_is_not_there_is_an_error(void **state) {
  (void)state;
  expect_part("echo hi | \"$P\" chat --url http://127.0.0.1:1 --model x 2>&1", 1, "Cannot talk to the server");
  expect_part("\"$P\" embed --url http://127.0.0.1:1 --model x hi 2>&1", 1, "Cannot talk to the server");
  expect_part("\"$P\" complete --url http://127.0.0.1:1 hi 2>&1", 1, "--model");
  expect_part("\"$P\" complete --url ftp://127.0.0.1:1 --model x hi 2>&1", 1, "Cannot talk to the server");
}

/* The program on two pipes. */
struct child {
  pid_t pid;
  int to, from;
};

static struct child start_chat(void) {
  int to[2], from[2];
  assert_int_equal(pipe(to), 0);
  assert_int_equal(pipe(from), 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    close(to[1]);
    close(from[0]);
    execl(getenv("PLINTH"), "plinth", "chat", "-t", "0", (char *)NULL);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  return (struct child){pid, to[1], from[0]};
}

static void ctrl_c_stops_the_answer_and_not_the_program(void **state) {
  NEEDS_MODELS();
  struct child c = start_chat();
  char byte;
  static const char story[] = "Count from one to ten thousand, one number a line.\n", exit_line[] = "/exit\n";
  assert_int_equal(write(c.to, story, sizeof story - 1), sizeof story - 1);
  for (int i = 0; i < 20; i++) assert_int_equal(read(c.from, &byte, 1), 1); /* the answer has begun */
  assert_int_equal(kill(c.pid, SIGINT), 0);
  assert_int_equal(write(c.to, exit_line, sizeof exit_line - 1), sizeof exit_line - 1);
  while (read(c.from, &byte, 1) == 1) continue;
  int status;
  assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_int_equal(byte, '\n');
  close(c.to);
  close(c.from);
}

/* What the terminal shows until `part` has come. */
static void wait_for(int terminal, struct buf *seen, const char *part) {
  char bytes[512];
  buf_clear(seen);
  while (!seen->len || !strstr(seen->data, part)) {
    ssize_t n = read(terminal, bytes, sizeof bytes);
    if (n <= 0) fail_msg("the program ended before it said \"%s\"", part);
    buf_add(seen, bytes, (size_t)n);
  }
}

/* Waits until keys go to the editor and no longer to the kernel, a moment after the prompt. */
static void type(int terminal, const char *keys) {
  struct termios mode;
  while (tcgetattr(terminal, &mode) == 0 && (mode.c_lflag & ICANON)) usleep(1000);
  assert_int_equal(write(terminal, keys, strlen(keys)), strlen(keys));
}

static void lines_are_edited_and_remembered_at_a_terminal(void **state) {
  NEEDS_MODELS();
  struct buf seen = {0};
  int terminal, status;
  pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
  if (pid == 0) {
    setenv("TERM", "xterm", 1);
    execl(getenv("PLINTH"), "plinth", "chat", (char *)NULL);
    _exit(127);
  }
  wait_for(terminal, &seen, "> ");
  type(terminal,
       "/hxx\x7f\x7f"
       "elp\r"); /* two keys taken back */
  wait_for(terminal, &seen, "Ctrl-C  stop an answer\r\n> ");
  type(terminal, "half a line\x03");
  wait_for(terminal, &seen, "[/exit leaves]\r\n> ");
  type(terminal, "\x1b[A"); /* the line before */
  wait_for(terminal, &seen, "/help");
  type(terminal, "\r");
  wait_for(terminal, &seen, "Ctrl-C  stop an answer\r\n> ");
  type(terminal, "\x04");
  while (read(terminal, seen.data, 1) == 1) continue;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  close(terminal);
  buf_free(&seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(render_prints_the_text_and_nothing_else),
      cmocka_unit_test(render_says_what_is_wrong),
      cmocka_unit_test(render_uses_a_models_own_template),
      cmocka_unit_test(complete_takes_its_prompt_from_the_argument_or_standard_input),
      cmocka_unit_test(complete_takes_every_field_of_the_sampling),
      cmocka_unit_test(kernels_can_be_chosen_and_the_answer_stays_the_same),
      cmocka_unit_test(sampling_that_is_none_is_refused_with_a_sentence),
      cmocka_unit_test(the_same_seed_gives_the_same_text),
      cmocka_unit_test(text_that_is_not_utf8_is_refused_everywhere),
      cmocka_unit_test(a_word_behind_a_slash_is_no_message),
      cmocka_unit_test(chat_notices_a_full_disk),
      cmocka_unit_test(chat_notices_an_input_that_cannot_be_read),
      cmocka_unit_test(a_conversation_fits_into_half_a_gigabyte),
      cmocka_unit_test(a_model_that_cannot_be_read_is_named),
      cmocka_unit_test(a_seed_below_zero_is_refused),
      cmocka_unit_test(chat_keeps_the_conversation_until_it_is_cleared),
      cmocka_unit_test(a_model_of_another_task_is_refused),
      cmocka_unit_test(embed_prints_one_vector_a_line_in_the_order_of_the_texts),
      cmocka_unit_test(a_server_that_is_not_there_is_an_error),
      cmocka_unit_test(lines_are_edited_and_remembered_at_a_terminal),
      cmocka_unit_test(ctrl_c_stops_the_answer_and_not_the_program),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
