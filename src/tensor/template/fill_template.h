/* fill_template: the table of an instruction set; included once per instruction set, behind all that it names. SPDX-License-Identifier: Apache-2.0 */

static void template_fill(struct kernels *k, const char *name) {
  rows_fill(k);
  k->name = name;
  k->attention = attention_run;
  k->linear_f32 = linear_f32;
  k->linear_i8 = linear_i8;
  k->linear_k8 = linear_k8;
  k->linear_i16 = linear_i16;
  k->linear_i14 = linear_i14;
  k->dot_rounds = dot_rounds;
  k->read_all = read_all;
}
