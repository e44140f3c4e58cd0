/* line: see line.h. SPDX-License-Identifier: Apache-2.0
 *
 * While a line is edited Ctrl-C is a key like any other, bound to a function that gives the line up; between lines it is a signal again
 * (interrupt.h). libedit alone would read on after a signal. */
#include "app/line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { HISTORY_LINES = 1000 };

struct line_reader {
  EditLine *editor; /* NULL: not at a terminal */
  History *history;
  bool interrupted;
  char *line; /* of a pipe */
  size_t cap;
};

static char *prompt(EditLine *editor) {
  (void)editor;
  static char text[] = "> ";
  return text;
}

static unsigned char give_up(EditLine *editor, int key) {
  struct line_reader *r = NULL;
  (void)key;
  el_get(editor, EL_CLIENTDATA, &r);
  r->interrupted = true;
  return CC_EOF;
}

static void open_editor(struct line_reader *r) {
  HistEvent event;
  setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8"); /* text is UTF-8, whatever the environment forgot to say */
  r->editor = el_init("plinth", stdin, stderr, stderr);
  r->history = history_init();
  if (!r->editor || !r->history) return;
  history(r->history, &event, H_SETSIZE, HISTORY_LINES);
  history(r->history, &event, H_SETUNIQUE, 1);
  el_set(r->editor, EL_CLIENTDATA, r);
  el_set(r->editor, EL_PROMPT, prompt);
  el_set(r->editor, EL_HIST, history, r->history);
  el_set(r->editor, EL_EDITOR, "emacs");
  el_wset(r->editor, EL_ADDFN, L"plinth-give-up", L"Give the line up", give_up); /* el_set would copy both and leak */
  el_set(r->editor, EL_SETTY, "-d", "-isig", NULL);
  el_set(r->editor, EL_BIND, "^C", "plinth-give-up", NULL);
  el_set(r->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_source(r->editor, NULL);
}

struct line_reader *line_open(bool terminal) {
  struct line_reader *r = mem_zalloc(1, sizeof *r);
  if (terminal) open_editor(r);
  return r;
}

void line_close(struct line_reader *r) {
  if (r->editor) el_end(r->editor);
  if (r->history) history_end(r->history);
  free(r->line);
  free(r);
}

static enum line_got read_pipe(struct line_reader *r, struct slice *ret_line) {
  errno = 0;
  ssize_t n = getline(&r->line, &r->cap, stdin);
  if (n < 0 && errno == EINTR) {
    clearerr(stdin);
    return LINE_INTERRUPTED;
  }
  *ret_line = slice_make(r->line, n < 0 ? 0 : (size_t)n);
  return n < 0 ? LINE_END : LINE_TEXT;
}

static enum line_got read_editor(struct line_reader *r, struct slice *ret_line) {
  HistEvent event;
  int n = 0;
  r->interrupted = false;
  const char *line = el_gets(r->editor, &n);
  if (r->interrupted) return LINE_INTERRUPTED;
  if (!line || n <= 0) return LINE_END;
  *ret_line = slice_make(line, (size_t)n);
  if (line[strspn(line, " \t\n")]) history(r->history, &event, H_ENTER, line);
  return LINE_TEXT;
}

enum line_got line_read(struct line_reader *r, struct slice *ret_line) {
  enum line_got got = r->editor && r->history ? read_editor(r, ret_line) : read_pipe(r, ret_line);
  if (got != LINE_TEXT) return got;
  while (ret_line->len && (ret_line->data[ret_line->len - 1] == '\n' || ret_line->data[ret_line->len - 1] == '\r')) ret_line->len--;
  return got;
}
