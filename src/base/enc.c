#include "base/enc.h"

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void hex_encode(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex_lower[p[i] >> 4];
        out[2 * i + 1] = hex_lower[p[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_value(char c)
{
    char l = ascii_lower(c);
    if (ascii_is_digit(c))
        return c - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* The byte of two digits, or -1. */
static int hex_pair(const char *p)
{
    int high = hex_value(p[0]), low = hex_value(p[1]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int hex_decode(uint8_t *out, size_t n, struct span s, struct err *err)
{
    if (s.n / 2 != n || s.n % 2 != 0)
        return err_set(err, ERR_INVALID, "%zu hexadecimal digits where %zu are needed", s.n, 2 * n);
    for (size_t i = 0; i < n; i++) {
        int byte = hex_pair(s.p + 2 * i);
        if (byte < 0)
            return err_set(err, ERR_INVALID, "not a hexadecimal digit at position %zu", 2 * i + 1);
        out[i] = (uint8_t)byte;
    }
    return 0;
}

void base64_encode(struct buf *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t group = (uint32_t)p[i] << 16;
        group |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        group |= left > 2 ? p[i + 2] : 0;
        char quad[4] = {base64_digits[group >> 18], base64_digits[group >> 12 & 63], base64_digits[group >> 6 & 63],
                        base64_digits[group & 63]};
        if (left < 3)
            quad[3] = '=';
        if (left < 2)
            quad[2] = '=';
        buf_add(out, quad, sizeof quad);
    }
}

static int base64_value(char c)
{
    const char *at = c ? strchr(base64_digits, c) : NULL;
    return at ? (int)(at - base64_digits) : -1;
}

/* How many of a text's last four characters are padding. */
static size_t base64_padding(struct span s)
{
    if (s.n == 0 || s.p[s.n - 1] != '=')
        return 0;
    return s.p[s.n - 2] == '=' ? 2 : 1;
}

int base64_decode(uint8_t *out, size_t max, size_t *n, struct span s, struct err *err)
{
    if (s.n % 4 != 0)
        return err_set(err, ERR_INVALID, "base64 text of %zu characters; a multiple of 4 is needed", s.n);
    size_t padding = base64_padding(s), total = s.n / 4 * 3 - padding;
    if (total > max)
        return err_set(err, ERR_INVALID, "base64 text holds %zu bytes, at most %zu are expected", total, max);
    size_t made = 0;
    for (size_t i = 0; i < s.n; i += 4) {
        size_t digits = i + 4 == s.n ? 4 - padding : 4;
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < digits ? base64_value(s.p[i + k]) : 0;
            if (value < 0)
                return err_set(err, ERR_INVALID, "not a base64 character at position %zu", i + k + 1);
            group = group << 6 | (uint32_t)value;
        }
        if ((digits == 3 && (group & 0xff)) || (digits == 2 && (group & 0xffff)))
            return err_set(err, ERR_INVALID, "base64 text has stray bits at its end");
        for (size_t k = 0; k + 1 < digits; k++)
            out[made++] = (uint8_t)(group >> (16 - 8 * k));
    }
    *n = made;
    return 0;
}

static bool is_unreserved(char c)
{
    char l = ascii_lower(c);
    return (l >= 'a' && l <= 'z') || ascii_is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

void percent_encode(struct buf *out, struct span s, bool keep_slash)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_unreserved(s.p[i]) || (keep_slash && c == '/'))
            buf_addc(out, s.p[i]);
        else
            buf_add(out, (char[]){'%', hex_upper[c >> 4], hex_upper[c & 15]}, 3);
    }
}

int percent_decode(struct buf *out, struct span s, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            buf_addc(out, s.p[i]);
            continue;
        }
        int byte = s.n - i > 2 ? hex_pair(s.p + i + 1) : -1;
        if (byte < 0)
            return err_set(err, ERR_INVALID, "'%%' without two hexadecimal digits at position %zu", i + 1);
        buf_addc(out, (char)byte);
        i += 2;
    }
    return buf_check(out, "decoded text", err);
}
