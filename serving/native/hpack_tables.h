/* The constants of RFC 7541: the static table of appendix A, and the Huffman code of appendix B.
 *
 * The code is canonical, so the number of codes of each length and the symbols in order say all of it.
 */
#ifndef HEADRACE_HPACK_TABLES_H
#define HEADRACE_HPACK_TABLES_H

#include "hpack.h"

#define HPACK_STATIC 61
#define HUFFMAN_LONGEST 30
#define HUFFMAN_END 256 /* may not occur in a string */

#define FIELD(name, value) {{name, sizeof(name) - 1}, {value, sizeof(value) - 1}}

static const hpack_field static_fields[HPACK_STATIC] = {
    FIELD(":authority", ""), FIELD(":method", "GET"), FIELD(":method", "POST"), FIELD(":path", "/"),
    FIELD(":path", "/index.html"), FIELD(":scheme", "http"), FIELD(":scheme", "https"), FIELD(":status", "200"),
    FIELD(":status", "204"), FIELD(":status", "206"), FIELD(":status", "304"), FIELD(":status", "400"),
    FIELD(":status", "404"), FIELD(":status", "500"), FIELD("accept-charset", ""),
    FIELD("accept-encoding", "gzip, deflate"), FIELD("accept-language", ""), FIELD("accept-ranges", ""),
    FIELD("accept", ""), FIELD("access-control-allow-origin", ""), FIELD("age", ""), FIELD("allow", ""),
    FIELD("authorization", ""), FIELD("cache-control", ""), FIELD("content-disposition", ""),
    FIELD("content-encoding", ""), FIELD("content-language", ""), FIELD("content-length", ""),
    FIELD("content-location", ""), FIELD("content-range", ""), FIELD("content-type", ""), FIELD("cookie", ""),
    FIELD("date", ""), FIELD("etag", ""), FIELD("expect", ""), FIELD("expires", ""), FIELD("from", ""),
    FIELD("host", ""), FIELD("if-match", ""), FIELD("if-modified-since", ""), FIELD("if-none-match", ""),
    FIELD("if-range", ""), FIELD("if-unmodified-since", ""), FIELD("last-modified", ""), FIELD("link", ""),
    FIELD("location", ""), FIELD("max-forwards", ""), FIELD("proxy-authenticate", ""), FIELD("proxy-authorization", ""),
    FIELD("range", ""), FIELD("referer", ""), FIELD("refresh", ""), FIELD("retry-after", ""), FIELD("server", ""),
    FIELD("set-cookie", ""), FIELD("strict-transport-security", ""), FIELD("transfer-encoding", ""),
    FIELD("user-agent", ""), FIELD("vary", ""), FIELD("via", ""), FIELD("www-authenticate", ""),
};

#undef FIELD

static const uint8_t huffman_counts[] = {
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4,
};

static const uint16_t huffman_symbols[] = {
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100,
    102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82,
    83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43,
    124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226,
    153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163,
    164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141,
    143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9,
    142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213,
    218, 219, 238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251,
    252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22, 256,
};

#endif
