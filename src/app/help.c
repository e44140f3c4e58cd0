/* help: see help.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/help.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 80, HELP_COLUMN = 26 };

/* ---- plain text ---- */

/* Appends words of text, wrapped; column is where the line stands, each further line begins with prefix. */
static void add_wrapped(struct buf *out, const char *text, const char *prefix, size_t column) {
  size_t indent = strlen(prefix);
  bool first = true;
  while (*text) {
    text += strspn(text, " \n");
    size_t len = strcspn(text, " \n");
    if (len == 0) break;
    if (!first && column + 1 + len > WIDTH) {
      buf_printf(out, "\n%s", prefix);
      column = indent;
    } else if (!first) {
      buf_add_byte(out, ' ');
      column++;
    }
    buf_add(out, text, len);
    column += len;
    text += len;
    first = false;
  }
  buf_add_byte(out, '\n');
}

/* Calls for each paragraph of text; paragraphs are separated by an empty line. */
static void each_paragraph(const char *text, void (*fn)(struct buf *out, const char *paragraph), struct buf *out) {
  struct buf one = {0};
  while (text && *text) {
    const char *end = strstr(text, "\n\n");
    size_t len = end ? (size_t)(end - text) : strlen(text);
    buf_clear(&one);
    buf_add(&one, text, len);
    fn(out, one.data);
    text += len + strspn(text + len, "\n");
  }
  buf_free(&one);
}

static void plain_paragraph(struct buf *out, const char *paragraph) {
  buf_add_byte(out, '\n');
  add_wrapped(out, paragraph, "", 0);
}

static void usage_line(const struct options_spec *spec, struct buf *out) {
  buf_printf(out, "plinth %s%s", spec->command, spec->n_rows || spec->has_config ? " [OPTION]..." : "");
  if (spec->operands) buf_printf(out, spec->operands_min ? " %s" : " [%s]", spec->operands);
}

/* The help sentence of a row followed by default, choices, variable and key in brackets. */
static void row_help(const struct options_row *row, struct buf *out) {
  buf_add_cstr(out, row->help);
  const char *separator = " (";
  const char *fallback = row->fallback ? row->fallback : row->fallback_note;
  if (row->choices) buf_printf(out, "%sone of %s", separator, row->choices), separator = "; ";
  if (fallback && row->type != OPTIONS_BOOL) buf_printf(out, "%sdefault: %s", separator, fallback), separator = "; ";
  if (row->env) buf_printf(out, "%senvironment: %s", separator, row->env), separator = "; ";
  if (row->key) buf_printf(out, "%sconfiguration: %s", separator, row->key), separator = "; ";
  if (separator[0] == ';') buf_add_byte(out, ')');
}

static void add_row(struct buf *out, const struct options_row *row) {
  struct buf left = {0}, help = {0};
  if (row->letter) buf_printf(&left, "  -%c, --%s", row->letter, row->name);
  else buf_printf(&left, "      --%s", row->name);
  if (row->metavar) buf_printf(&left, " %s", row->metavar);
  row_help(row, &help);
  buf_add_slice(out, buf_view(&left));
  if (left.len + 2 > HELP_COLUMN) buf_printf(out, "\n%*s", HELP_COLUMN, "");
  else buf_printf(out, "%*s", (int)(HELP_COLUMN - left.len), "");
  char prefix[HELP_COLUMN + 1];
  snprintf(prefix, sizeof prefix, "%*s", HELP_COLUMN, "");
  add_wrapped(out, help.data, prefix, HELP_COLUMN);
  buf_free(&left);
  buf_free(&help);
}

/* The rows that every command has. */
static const struct options_row help_row = {.name = "help", .letter = 'h', .type = OPTIONS_BOOL, .help = "Show this help."};
static const struct options_row config_rows[2] = {
    {.name = "config",
     .metavar = "FILE",
     .env = "PLINTH_CONFIG",
     .help = "Read settings from this YAML file. Flags and environment win over it."},
    {.name = "print-config", .type = OPTIONS_BOOL, .help = "Print a commented example of such a file."},
};

static void each_row(const struct options_spec *spec, void (*fn)(struct buf *out, const struct options_row *row), struct buf *out) {
  for (size_t i = 0; i < spec->n_rows; i++) fn(out, &spec->rows[i]);
  for (size_t i = 0; spec->has_config && i < 2; i++) fn(out, &config_rows[i]);
  bool taken = false;
  for (size_t i = 0; i < spec->n_rows; i++) taken |= spec->rows[i].letter == 'h';
  struct options_row row = help_row;
  if (taken) row.letter = 0;
  fn(out, &row);
}

static void add_examples(struct buf *out, const char *examples) {
  if (!examples) return;
  buf_add_cstr(out, "\nExamples:\n");
  while (*examples) {
    size_t len = strcspn(examples, "\n");
    buf_printf(out, "  %.*s\n", (int)len, examples);
    examples += len + (examples[len] == '\n');
  }
}

void help_command(const struct options_spec *spec, struct buf *out) {
  buf_add_cstr(out, "Usage: ");
  usage_line(spec, out);
  buf_add_byte(out, '\n');
  each_paragraph(spec->description, plain_paragraph, out);
  buf_add_cstr(out, "\nOptions:\n");
  each_row(spec, add_row, out);
  add_examples(out, spec->examples);
}

void help_program(const struct app_command *const *commands, size_t n, struct buf *out) {
  buf_add_cstr(
      out, "Usage: plinth COMMAND [OPTION]...\n\nPlinth serves open language and embedding models from your own machines.\n\nCommands:\n");
  for (size_t i = 0; i < n; i++)
    if (!commands[i]->hidden) buf_printf(out, "  %-11s  %s\n", commands[i]->spec.command, commands[i]->spec.summary);
  buf_add_cstr(out, "  help         Show help about a command, or the manual page (--man)\n");
  buf_add_cstr(out,
               "\nOptions:\n  -h, --help     Show this help.\n      --version  Show the version.\n\n\"plinth COMMAND --help\" says more "
               "about a command.\n");
}

/* ---- configuration file ---- */

static void add_setting(struct buf *out, const struct options_row *row) {
  buf_add_cstr(out, "\n# ");
  struct buf help = {0};
  buf_add_cstr(&help, row->help);
  if (row->choices) buf_printf(&help, " One of %s.", row->choices);
  if (!row->fallback && row->fallback_note) buf_printf(&help, " Default: %s.", row->fallback_note);
  if (row->env) buf_printf(&help, " Environment: %s.", row->env);
  add_wrapped(out, help.data, "# ", 2);
  buf_free(&help);
  if (row->type == OPTIONS_LIST) buf_printf(out, "#%s: [%s]\n", row->key, row->fallback ? row->fallback : "");
  else if (row->type == OPTIONS_BOOL) buf_printf(out, "#%s: %s\n", row->key, row->fallback ? row->fallback : "false");
  else buf_printf(out, "#%s:%s%s\n", row->key, row->fallback ? " " : "", row->fallback ? row->fallback : "");
}

void help_config(const struct options_spec *spec, struct buf *out) {
  buf_printf(out, "# Settings of `plinth %s`: use with `plinth %s --config FILE` or PLINTH_CONFIG=FILE.\n", spec->command, spec->command);
  buf_add_cstr(out,
               "# Every line that is commented out shows the default. Flags win over the environment, the environment over this file.\n");
  for (size_t i = 0; i < spec->n_rows; i++)
    if (spec->rows[i].key) add_setting(out, &spec->rows[i]);
}

/* ---- manual page ---- */

static void add_roff(struct buf *out, const char *text) {
  for (const char *p = text; *p; p++) {
    bool line_begins = p == text || p[-1] == '\n';
    if (line_begins && (*p == '.' || *p == '\'')) buf_add_cstr(out, "\\&");
    if (*p == '\\') buf_add_cstr(out, "\\e");
    else if (*p == '-') buf_add_cstr(out, "\\-");
    else if (*p == '~') buf_add_cstr(out, "\\(ti");
    else if (*p == '^') buf_add_cstr(out, "\\(ha");
    else if (*p == '`') buf_add_cstr(out, "\\(ga");
    else buf_add_byte(out, (unsigned char)*p);
  }
}

static void roff_paragraph(struct buf *out, const char *paragraph) {
  buf_add_cstr(out, ".PP\n");
  add_roff(out, paragraph);
  buf_add_byte(out, '\n');
}

static void roff_row(struct buf *out, const struct options_row *row) {
  struct buf help = {0};
  buf_add_cstr(out, ".TP\n\\fB");
  if (row->letter) buf_printf(out, "\\-%c\\fR, \\fB", row->letter);
  buf_add_cstr(out, "\\-\\-");
  add_roff(out, row->name);
  buf_add_cstr(out, "\\fR");
  if (row->metavar) {
    buf_add_cstr(out, " \\fI");
    add_roff(out, row->metavar);
    buf_add_cstr(out, "\\fR");
  }
  buf_add_byte(out, '\n');
  row_help(row, &help);
  add_roff(out, help.data);
  buf_add_byte(out, '\n');
  buf_free(&help);
}

static void roff_command(const struct options_spec *spec, struct buf *out) {
  struct buf usage = {0};
  usage_line(spec, &usage);
  buf_add_cstr(out, ".SS \"");
  add_roff(out, usage.data);
  buf_add_cstr(out, "\"\n");
  buf_free(&usage);
  each_paragraph(spec->description, roff_paragraph, out);
  each_row(spec, roff_row, out);
  if (!spec->examples) return;
  buf_add_cstr(out, ".PP\nExamples:\n.PP\n.nf\n.RS\n");
  add_roff(out, spec->examples);
  buf_add_cstr(out, "\n.RE\n.fi\n");
}

void help_man(const struct app_command *const *commands, size_t n, struct buf *out) {
  buf_printf(out, ".TH PLINTH 1 \"\" \"plinth %s\" \"User Commands\"\n", PLINTH_VERSION);
  buf_add_cstr(out, ".SH NAME\nplinth \\- serve open language and embedding models\n");
  buf_add_cstr(out, ".SH SYNOPSIS\n\\fBplinth\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n");
  add_roff(out,
           "Plinth serves open foundation models from your own machines, with the API that people already call: chat, completions and\n"
           "embeddings over HTTP, and the same on the command line.\n");
  buf_add_cstr(out, ".SH COMMANDS\n");
  for (size_t i = 0; i < n; i++)
    if (!commands[i]->hidden) roff_command(&commands[i]->spec, out);
  buf_add_cstr(out, ".SH ENVIRONMENT\n");
  add_roff(out,
           "Every option that names an environment variable takes its value from there when the flag is absent; an empty variable counts\n"
           "as unset. A list is separated by commas.\n");
  buf_add_cstr(out, ".SH FILES\n.TP\n");
  add_roff(out, "${XDG_DATA_HOME:-~/.local/share}/plinth/models\n");
  add_roff(out, "Where models lie when no other folder is named: a folder for each model, or .gguf files.\n");
  buf_add_cstr(out,
               ".SH EXIT STATUS\n.TP\n0\nSuccess.\n.TP\n1\nSomething failed; a sentence on standard error says what.\n.TP\n2\nThe command "
               "line is wrong.\n");
}
