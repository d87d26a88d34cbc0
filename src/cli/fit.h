/* SPDX-License-Identifier: Apache-2.0 */
/* Fitting tables to terminals; only computes. For out.c. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* How many columns of a terminal the text takes. */
size_t fit_width(const char *text);
/* widths: what each column would like; those of words are made narrower, if the terminal
 * is too narrow for all of them with a blank between. */
void fit_columns(size_t *widths, const bool *words, size_t count, size_t terminal);
/* With line feeds, so that no line is wider; between words where there are any. The
 * caller's. */
char *fit_fold(const char *text, size_t width);
