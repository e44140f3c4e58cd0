/* unit_template: products of K packs with 8-bit units: their tiles in order, and a specialization for each pack. Included once per instruction
 * set. SPDX-License-Identifier: Apache-2.0
 * The file included before defines unit_tile and UNIT_COLUMNS, the columns of its widest register tile; UNIT_HALVES: whether columns left over go
 * through tiles of 4 and 2 before single ones. INT_MANY_ROWS is that of int_template.h. */

/* Columns of tiles through all panels of the call, whose weights are in the second cache for the next. */
static inline __attribute__((always_inline)) void unit_column(const struct product *p, size_t panel_begin, size_t panel_end, size_t first,
                                                              int columns, enum pack pack) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) unit_tile(p, panel, first, columns, first == 0, pack);
}

static inline __attribute__((always_inline)) void unit_panels(const struct product *p, size_t panel_begin, size_t panel_end,
                                                              enum pack pack) {
  size_t i = 0;
#ifdef INT_MANY_ROWS
  i = INT_MANY_ROWS(p, panel_begin, panel_end, false);
#endif
  for (; i + UNIT_COLUMNS <= p->n_rows; i += UNIT_COLUMNS) unit_column(p, panel_begin, panel_end, i, UNIT_COLUMNS, pack);
  for (; UNIT_HALVES && i + 4 <= p->n_rows; i += 4) unit_column(p, panel_begin, panel_end, i, 4, pack);
  for (; UNIT_HALVES && i + 2 <= p->n_rows; i += 2) unit_column(p, panel_begin, panel_end, i, 2, pack);
  for (; i < p->n_rows; i++) unit_column(p, panel_begin, panel_end, i, 1, pack);
}

static void linear_k8(const struct product *p, size_t panel_begin, size_t panel_end) {
  switch (p->job->w->pack) {
    case PACK_K2M: unit_panels(p, panel_begin, panel_end, PACK_K2M); break;
    case PACK_K3: unit_panels(p, panel_begin, panel_end, PACK_K3); break;
    case PACK_K4M: unit_panels(p, panel_begin, panel_end, PACK_K4M); break;
    case PACK_K5M: unit_panels(p, panel_begin, panel_end, PACK_K5M); break;
    case PACK_K6: unit_panels(p, panel_begin, panel_end, PACK_K6); break;
    default: assert(!"a K pack");
  }
}
