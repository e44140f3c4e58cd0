/* What the compute modes cost on a real model, as `plinth eval` states it: a mode whose arithmetic broke would still talk, only worse. PLINTH names the
 * program, the first argument a text; skips where the default model is missing. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/js.h"

#define MODEL "smollm2-135m-instruct"
enum { TEXT_BYTES = 3800 }; /* two windows of 512 tokens: some seconds for a mode */

static const char *text_path;

static int run(const char *command, char *output, size_t size) {
  FILE *f = popen(command, "r");
  assert_non_null(f);
  output[fread(output, 1, size - 1, f)] = '\0';
  int status = pclose(f);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void assert_cost(const char *mode, double kl_max, double top1_min) {
  char command[1024], output[4096];
  double kl, top1;
  if (run("test -e \"${XDG_DATA_HOME:-$HOME/.local/share}/plinth/models/" MODEL "\"", output, sizeof output) != 0) skip();
  snprintf(command, sizeof command, "head -c %d '%s' > part.txt && \"$PLINTH\" eval " MODEL " --text part.txt --compute %s --json 2>&1",
           TEXT_BYTES, text_path, mode);
  int status = run(command, output, sizeof output);
  if (status != 0) fail_msg("%s: %s", command, output);
  struct js *v = js_parse(slice_cstr(output), NULL);
  assert_true(js_real(js_get(v, "kl_mean"), &kl) && js_real(js_get(v, "top1_agreement"), &top1));
  js_free(v);
  if (!(kl > 0 && kl < kl_max && top1 >= top1_min))
    fail_msg("%s: mean KL %g (above 0, below %g), top-1 %g (at least %g)", mode, kl, kl_max, top1, top1_min);
}

static void fast_stays_near_fp32(void **state) {
  (void)state;
  assert_cost("fast", 0.003, 0.965);
}

static void precise_is_all_but_fp32(void **state) {
  (void)state;
  assert_cost("precise", 2e-6, 0.998);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  char folder[] = "/tmp/plinth-eval-XXXXXX";
  char *path = realpath(argv[1], NULL);
  text_path = path;
  if (!path || !mkdtemp(folder) || chdir(folder) < 0) return 2;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fast_stays_near_fp32),
      cmocka_unit_test(precise_is_all_but_fp32),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  remove("part.txt");
  rmdir(folder);
  free(path);
  return failed;
}
