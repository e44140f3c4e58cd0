#!/usr/bin/env python3
"""Writes src/text/jinja_char_data.h: what Python's str methods know of characters beyond their category and simple case.

Run from the root of the tree: python3 test/vector/jinja/chars.py > src/text/jinja_char_data.h
SPDX-License-Identifier: Apache-2.0
"""
import unicodedata


def all_chars():
    return (chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def ranges(wanted):
    found = []
    for c in map(ord, filter(wanted, all_chars())):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def table(name, comment, wanted):
    print(f"/* {comment} */\nstatic const struct range {name}[] = {{")
    cells = [f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(wanted)]
    for i in range(0, len(cells), 6):
        print("    " + ", ".join(cells[i : i + 6]) + ",")
    print("};\n")


def sequence(text):
    return "{" + ", ".join(f"0x{ord(c):X}" for c in text) + "}"


def main():
    category = unicodedata.category
    print("/* jinja_char_data: tables of jinja_char.c, written by test/vector/jinja/chars.py from Unicode "
          + unicodedata.unidata_version + ".\n * SPDX-License-Identifier: Apache-2.0 */")
    print("#ifndef TEXT_JINJA_CHAR_DATA_H\n#define TEXT_JINJA_CHAR_DATA_H\n#include <stdint.h>\n")
    print("struct range {\n  uint32_t first, last;\n};\n")
    table("lower_extra", "lowercase, but not of category Ll", lambda c: c.islower() and category(c) != "Ll")
    table("upper_extra", "uppercase, but not of category Lu", lambda c: c.isupper() and category(c) != "Lu")
    table("digit_extra", "digits that are not decimal", lambda c: c.isdigit() and category(c) != "Nd")
    table("numeric_extra", "numeric, but of no category N", lambda c: c.isnumeric() and category(c)[0] != "N")
    begins = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nl")
    goes_on = begins + ("Mn", "Mc", "Nd", "Pc")
    table("id_start_extra", "begin a name, but are of no category that does", lambda c: c.isidentifier() and category(c) not in begins)
    table("id_start_not", "begin no name, but are of a category that does", lambda c: not c.isidentifier() and category(c) in begins)
    table("id_extra", "stand in names, but are of no category that does", lambda c: ("a" + c).isidentifier() and category(c) not in goes_on)
    table("id_not", "stand in no name, but are of a category that does", lambda c: not ("a" + c).isidentifier() and category(c) in goes_on)
    print("/* characters whose upper or title case is more than one character; a sequence ends at its first 0 */")
    print("struct special_case {\n  uint32_t c, upper[3], title[3];\n};")
    print("static const struct special_case special_cases[] = {")
    for c in all_chars():
        if len(c.upper()) > 1 or len(c.title()) > 1:
            print(f"    {{0x{ord(c):X}, {sequence(c.upper())}, {sequence(c.title())}}},")
    print("};\n\n#endif")


if __name__ == "__main__":
    main()
