#include "cli/bars.h"

#include "cli/table.h"

#include <inttypes.h>
#include <math.h>

#define RATE_HALF_LIFE_MS 1500.0
#define WIDE              110 /* columns from which on there is room for long labels and bars */
#define LABEL_WIDTH       36
#define LABEL_WIDTH_SMALL 20
#define BAR_CELLS         20
#define BAR_CELLS_SMALL   10

void rate_add(struct rate *r, uint64_t bytes, uint64_t now_ms)
{
    if (!r->started) {
        *r = (struct rate){.last_bytes = bytes, .last_ms = now_ms, .started = true};
        return;
    }
    if (now_ms <= r->last_ms)
        return;
    double span = (double)(now_ms - r->last_ms);
    double now = bytes > r->last_bytes ? (double)(bytes - r->last_bytes) * 1000.0 / span : 0;
    double weight = r->per_second > 0 ? 1.0 - exp2(-span / RATE_HALF_LIFE_MS) : 1.0;
    r->per_second += (now - r->per_second) * weight;
    r->last_bytes = bytes;
    r->last_ms = now_ms;
}

uint64_t rate_eta_ms(const struct rate *r, uint64_t left)
{
    double ms = r->per_second >= 1.0 ? (double)left * 1000.0 / r->per_second : INFINITY;
    return ms < 1e15 ? (uint64_t)ms : UINT64_MAX;
}

void progress_sum(struct stage_progress *sum, const struct stage_progress *p)
{
    sum->files_total += p->files_total;
    sum->files_done += p->files_done;
    sum->files_cached += p->files_cached;
    sum->bytes_total += p->bytes_total;
    sum->bytes_done += p->bytes_done;
    sum->bytes_cached += p->bytes_cached;
    sum->bytes_wire += p->bytes_wire;
    sum->requests += p->requests;
    sum->retries += p->retries;
    sum->stalled += p->stalled;
    if (p->phase != STAGE_READY)
        sum->phase = p->phase;
}

static double fraction(const struct stage_progress *p)
{
    if (p->phase == STAGE_READY)
        return 1.0;
    if (p->bytes_total > 0)
        return p->bytes_done >= p->bytes_total ? 1.0 : (double)p->bytes_done / (double)p->bytes_total;
    return p->files_total > 0 ? (double)p->files_done / (double)p->files_total : 0.0;
}

static void add_cells(double part, unsigned cells, struct buf *out)
{
    unsigned full = (unsigned)(part * cells + 0.5);
    for (unsigned i = 0; i < cells; i++)
        buf_adds(out, i < full ? "█" : "░");
}

static void add_figures(const struct stage_progress *p, const struct rate *rate, struct buf *out)
{
    char a[HUMAN_MAX], b[HUMAN_MAX];
    if (p->files_total == 0 && p->bytes_total == 0 && p->phase != STAGE_READY) {
        buf_adds(out, stage_phase_name(p->phase)); /* nobody knows yet how much it will be */
        return;
    }
    buf_addf(out, "%s of %s", human_bytes(a, p->bytes_done), human_bytes(b, p->bytes_total));
    if (p->files_total > 1)
        buf_addf(out, ", %" PRIu64 "/%" PRIu64 " files", p->files_done, p->files_total);
    if (p->phase == STAGE_READY) {
        buf_adds(out, p->bytes_cached == p->bytes_total && p->files_cached == p->files_total ? ", cached" : ", ready");
        return;
    }
    if (p->phase != STAGE_DOWNLOADING) {
        buf_addf(out, ", %s", stage_phase_name(p->phase));
        return;
    }
    buf_addf(out, ", %s/s", human_bytes(a, (uint64_t)rate->per_second));
    uint64_t left = p->bytes_total > p->bytes_done ? p->bytes_total - p->bytes_done : 0;
    uint64_t eta = rate_eta_ms(rate, left);
    if (eta != UINT64_MAX && left > 0)
        buf_addf(out, ", %s left", human_duration(a, eta));
    if (p->stalled > 0)
        buf_addf(out, ", %" PRIu64 " stalled", p->stalled);
    if (p->retries > 0)
        buf_addf(out, ", %" PRIu64 " retries", p->retries);
}

void bar_line(const char *label, const struct stage_progress *p, const struct rate *rate, unsigned width, bool colour,
              struct buf *out)
{
    AUTO_BUF clean, name, rest;
    /* Figures matter more than labels: 80 columns must show how far and how fast. */
    unsigned label_width = width >= WIDE ? LABEL_WIDTH : LABEL_WIDTH_SMALL;
    unsigned cells = width >= WIDE ? BAR_CELLS : BAR_CELLS_SMALL;
    buf_init(&name, 4 * LABEL_WIDTH + 8);
    buf_init(&rest, 512);
    buf_init(&clean, strlen(label) + 1);
    text_printable(span_of(label), &clean);
    text_fit(buf_span(&clean), label_width, &name);
    buf_add_span(out, buf_span(&name));
    for (size_t i = text_width(buf_span(&name)); i < label_width; i++)
        buf_addc(out, ' ');
    double part = fraction(p);
    const char *tint = p->phase == STAGE_FAILED ? "\033[31m" : p->phase == STAGE_READY ? "\033[32m" : "\033[36m";
    buf_adds(out, colour ? " \033[0m" : " ");
    if (colour)
        buf_adds(out, tint);
    add_cells(part, cells, out);
    buf_adds(out, colour ? "\033[0m " : " ");
    buf_addf(&rest, "%3d %%  ", (int)(part * 100.0));
    add_figures(p, rate, &rest);
    size_t used = label_width + 1 + cells + 1;
    text_fit(buf_span(&rest), width > used + 10 ? width - used - 1 : 10, out);
}

void progress_line(const char *label, const struct stage_progress *p, const struct rate *rate, struct buf *out)
{
    text_printable(span_of(label), out);
    buf_adds(out, ": ");
    add_figures(p, rate, out);
}
