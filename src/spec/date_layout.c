#include "spec/date_layout.h"

static const struct field {
    const char *go; /* how Go's reference time spells it */
    char letter;    /* how strftime does */
    unsigned char width;
    unsigned short min, max;
} fields[] = {
    {"2006", 'Y', 4, 0, 9999}, {"Jan", 'b', 3, 1, 12}, {"002", 'j', 3, 1, 366},
    {"01", 'm', 2, 1, 12},     {"02", 'd', 2, 1, 31},  {"15", 'H', 2, 0, 23},
    {"04", 'M', 2, 0, 59},     {"05", 'S', 2, 0, 59},  {"06", 'y', 2, 0, 99},
};

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static const struct field *field_of(char letter)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].letter == letter)
            return &fields[i];
    return NULL;
}

static const struct field *field_at_go(struct span s)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (span_starts(s, span_of(fields[i].go)))
            return &fields[i];
    return NULL;
}

static bool is_alnum(char c)
{
    return ascii_is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

/* One element off the front of `s`; false where it is none that has a fixed width. */
static bool take_element(struct span *s, bool strftime_style, struct date_element *out)
{
    const struct field *f = NULL;
    size_t used = 1;
    *out = (struct date_element){.literal = s->p[0]};
    if (strftime_style && s->p[0] == '%') {
        f = s->n > 1 ? field_of(s->p[1]) : NULL;
        bool percent = s->n > 1 && s->p[1] == '%';
        if (!f && !percent)
            return false;
        used = 2;
    } else if (!strftime_style) {
        f = field_at_go(*s);
        used = f ? strlen(f->go) : 1;
        /* Digits left over are Go's elements without padding ("2", "3"), or a slip. 'T' between date and time is not.
         */
        if (!f && is_alnum(s->p[0]) && s->p[0] != 'T' && s->p[0] != 'Z')
            return false;
    }
    if (f)
        out->field = f->letter;
    *s = (struct span){s->p + used, s->n - used};
    return true;
}

int date_layout_parse(struct date_layout *out, struct span text, struct err *err)
{
    bool strftime_style = text.n && memchr(text.p, '%', text.n), has_field = false;
    struct span rest = text, shown = span_head(text, DATE_LAYOUT_MAX);
    size_t width = 0;
    *out = (struct date_layout){0};
    while (rest.n > 0) {
        struct date_element *e = &out->elements[out->n];
        if (!take_element(&rest, strftime_style, e))
            return err_set(err, ERR_INVALID,
                           "the date format '%.*s' has an element without a fixed width; expected one like 2006-01-02 "
                           "or %%Y-%%m-%%d",
                           SPAN_FMT(shown));
        width += e->field ? field_of(e->field)->width : 1;
        if (width >= DATE_LAYOUT_MAX)
            return err_set(err, ERR_INVALID, "a date format for more than %d bytes", DATE_LAYOUT_MAX - 1);
        has_field |= e->field != 0;
        out->n++;
    }
    if (!has_field)
        return err_set(err, ERR_INVALID, "the date format '%.*s' has no date in it; expected one like 2006-01-02",
                       SPAN_FMT(shown));
    return 0;
}

static bool read_month(struct span s, unsigned *value)
{
    for (unsigned i = 0; i < ARRAY_LEN(months); i++) {
        if (span_eq_nocase(s, span_of(months[i]))) {
            *value = i + 1;
            return true;
        }
    }
    return false;
}

static bool read_number(struct span s, unsigned *value)
{
    *value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_is_digit(s.p[i]))
            return false;
        *value = *value * 10 + (unsigned)(s.p[i] - '0');
    }
    return true;
}

struct seen {
    unsigned year, month, day;
};

static void note(struct seen *seen, char field, unsigned value)
{
    if (field == 'Y')
        seen->year = value;
    else if (field == 'y')
        seen->year = value < 69 ? 2000 + value : 1900 + value;
    else if (field == 'm' || field == 'b')
        seen->month = value;
    else if (field == 'd')
        seen->day = value;
}

static bool day_exists(const struct seen *s)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (s->year % 4 == 0 && s->year % 100 != 0) || s->year % 400 == 0;
    if (s->month < 1 || s->month > ARRAY_LEN(days))
        return false;
    return s->day <= days[s->month - 1] + (unsigned)(s->month == 2 && leap);
}

bool date_layout_match(const struct date_layout *layout, struct span key, char date[DATE_LAYOUT_MAX])
{
    struct seen seen = {.year = 0, .month = 1, .day = 1};
    size_t at = 0;
    for (size_t i = 0; i < layout->n; i++) {
        const struct date_element *e = &layout->elements[i];
        const struct field *f = e->field ? field_of(e->field) : NULL;
        size_t width = f ? f->width : 1;
        unsigned value;
        if (key.n - at < width)
            return false;
        struct span part = {key.p + at, width};
        if (!f && part.p[0] != e->literal)
            return false;
        if (f) {
            bool ok = e->field == 'b' ? read_month(part, &value) : read_number(part, &value);
            if (!ok || value < f->min || value > f->max)
                return false;
            note(&seen, e->field, value);
            if (e->field == 'b')
                part = span_of(months[value - 1]);
        }
        memcpy(date + at, part.p, width);
        at += width;
    }
    date[at] = '\0';
    return day_exists(&seen);
}
