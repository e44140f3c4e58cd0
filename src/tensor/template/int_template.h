/* int_template: products of integer panels: their tiles in order, and a specialization for each pack. Included once per instruction set.
 * SPDX-License-Identifier: Apache-2.0
 * The file included before defines int_tile and INT_COLUMNS, INT_WIDE_COLUMNS (with 16-bit activations): the columns of its widest register
 * tile; INT_HALVES: whether columns left over go through tiles of 4 and 2 before single ones; INT_OPENS: that it has int_open, which writes a
 * panel of int_opened_bytes a block to the scratch, and int_tile_opened, which reads it. */

/* Columns through all panels of the call, whose weights are in the second cache for the next ones: as they are packed, or opened. */
static inline __attribute__((always_inline)) void int_column(const struct product *p, size_t panel_begin, size_t panel_end,
                                                             const unsigned char *opened, size_t first, int columns, enum pack pack,
                                                             bool wide) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
#ifdef INT_OPENS
    if (opened) {
      int_tile_opened(p, panel, opened, first, columns, pack, wide);
      opened += p->job->w->n_blocks * int_opened_bytes(pack);
      continue;
    }
#else
    (void)opened;
#endif
    int_tile(p, panel, first, columns, first == 0, pack, wide);
  }
}

static inline __attribute__((always_inline)) void int_columns(const struct product *p, size_t panel_begin, size_t panel_end,
                                                              const unsigned char *opened, enum pack pack, bool wide) {
  const size_t most = wide ? INT_WIDE_COLUMNS : INT_COLUMNS;
  size_t i = 0;
  for (; i + most <= p->n_rows; i += most) int_column(p, panel_begin, panel_end, opened, i, (int)most, pack, wide);
  for (; INT_HALVES && most > 4 && i + 4 <= p->n_rows; i += 4) int_column(p, panel_begin, panel_end, opened, i, 4, pack, wide);
  for (; INT_HALVES && most > 2 && i + 2 <= p->n_rows; i += 2) int_column(p, panel_begin, panel_end, opened, i, 2, pack, wide);
  for (; i < p->n_rows; i++) int_column(p, panel_begin, panel_end, opened, i, 1, pack, wide);
}

static inline __attribute__((always_inline)) void int_panels(const struct product *p, size_t panel_begin, size_t panel_end, enum pack pack,
                                                             bool wide) {
#ifdef INT_OPENS
  size_t bytes = p->job->w->n_blocks * int_opened_bytes(pack), room = p->scratch_bytes / bytes;
  bool open = pack_form(pack).sub && p->n_rows >= KERNELS_OPEN_ROWS && room > 0;
  for (size_t next; open && panel_begin < panel_end; panel_begin = next) {
    next = panel_end - panel_begin < room ? panel_end : panel_begin + room;
    for (size_t panel = panel_begin; panel < next; panel++) int_open(p->scratch + (panel - panel_begin) * bytes, p->job->w, panel, pack);
    int_columns(p, panel_begin, next, p->scratch, pack, wide);
  }
#endif
  if (panel_begin < panel_end) int_columns(p, panel_begin, panel_end, NULL, pack, wide);
}

static inline __attribute__((always_inline)) void linear_int(const struct product *p, size_t panel_begin, size_t panel_end, bool wide) {
  switch (p->job->w->pack) {
    case PACK_Q8: int_panels(p, panel_begin, panel_end, PACK_Q8, wide); break;
    case PACK_Q4: int_panels(p, panel_begin, panel_end, PACK_Q4, wide); break;
    case PACK_Q4M: int_panels(p, panel_begin, panel_end, PACK_Q4M, wide); break;
    case PACK_Q5: int_panels(p, panel_begin, panel_end, PACK_Q5, wide); break;
    case PACK_Q5M: int_panels(p, panel_begin, panel_end, PACK_Q5M, wide); break;
    case PACK_S8: int_panels(p, panel_begin, panel_end, PACK_S8, wide); break;
    case PACK_K2M: int_panels(p, panel_begin, panel_end, PACK_K2M, wide); break;
    case PACK_K3: int_panels(p, panel_begin, panel_end, PACK_K3, wide); break;
    case PACK_K4M: int_panels(p, panel_begin, panel_end, PACK_K4M, wide); break;
    case PACK_K5M: int_panels(p, panel_begin, panel_end, PACK_K5M, wide); break;
    case PACK_K6: int_panels(p, panel_begin, panel_end, PACK_K6, wide); break;
    default: break;
  }
}

static void linear_i8(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, false); }
static void linear_i16(const struct product *p, size_t panel_begin, size_t panel_end) { linear_int(p, panel_begin, panel_end, true); }
