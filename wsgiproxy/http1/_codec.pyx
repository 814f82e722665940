# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The grammar compiled: one pass over a head where ``grammar`` and ``lines`` take several.

What every browser and every backend sends is read here; what is rare, and everything that is wrong, is left to the pure
modules, which decide. So there is one grammar, and this module may be faster but never different. Each index into a
head is compared with the head's size before it is used. What is put together is put together on the stack: another thread may parse meanwhile.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_SetItem
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

from wsgiproxy.http1.framing cimport request_framing, response_framing
from wsgiproxy.http1.message cimport Framing, RequestHead, ResponseHead

from wsgiproxy.http1 import grammar, lines
from wsgiproxy.http1.headers import (
    COMMON_ANSWER_NAMES,
    COMMON_REQUEST_NAMES,
    HOP_BY_HOP,
    OWN_REQUEST_NAMES,
    environ_key,
    forwardable,
)
from wsgiproxy.http1.message import NO_BODY

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

include "_codec_tables.pxi"


cdef inline str latin1(const char *text, Py_ssize_t size):
    return PyUnicode_DecodeLatin1(text, size, NULL)


cdef struct Line:  # one field line: positions in the head
    Py_ssize_t name
    Py_ssize_t name_end
    Py_ssize_t value
    Py_ssize_t value_end
    Py_ssize_t next


cdef inline bint is_value(const char *text) noexcept:
    """Whether eight characters may all stand in a value: none below a space (the tab is left to the table), no DEL.

    Eight at a time, each in its byte of a number: the high bit of a byte of ``low`` is set where it was below a space.
    """
    cdef uint64_t word, low, gone
    memcpy(&word, text, 8)
    low = (word - 0x2020202020202020ULL) & ~word
    gone = word ^ 0x7F7F7F7F7F7F7F7FULL  # zero where a DEL was
    return ((low | ((gone - 0x0101010101010101ULL) & ~gone)) & 0x8080808080808080ULL) == 0


cdef inline int read_line(const char *text, Py_ssize_t size, Py_ssize_t at, Line *line) noexcept:
    """Read a field line at ``at``: 1 for one, 0 for the empty line that ends the head, -1 for anything else."""
    if at + 1 >= size:
        return -1
    if text[at] == b"\r":
        return 0 if text[at + 1] == b"\n" and at + 2 == size else -1
    line.name = at
    while at < size and classes[<unsigned char>text[at]] & TOKEN:
        at += 1
    line.name_end = at
    if at == line.name or at >= size or text[at] != b":":
        return -1
    at += 1
    while at < size and (text[at] == b" " or text[at] == b"\t"):
        at += 1
    line.value = at
    while at + 8 <= size and is_value(text + at):
        at += 8
    while at < size and classes[<unsigned char>text[at]] & VALUE:
        at += 1
    if at + 1 >= size or text[at] != b"\r" or text[at + 1] != b"\n":
        return -1
    line.next = at + 2
    while at > line.value and (text[at - 1] == b" " or text[at - 1] == b"\t"):
        at -= 1
    line.value_end = at
    return 1


cdef inline int connection_option(const char *text, Py_ssize_t size) noexcept:
    """1 for keep-alive, 0 for close, -1 for anything else."""
    if size == 10 and memcmp(text, b"keep-alive", 10) == 0:
        return 1
    return 0 if size == 5 and memcmp(text, b"close", 5) == 0 else -1


cdef bint is_plain_host(const char *text, Py_ssize_t size) noexcept:
    """Whether an authority is a name, and perhaps a port."""
    cdef Py_ssize_t at = 0, port
    cdef int number = 0
    while at < size and classes[<unsigned char>text[at]] & HOST:
        at += 1
    if at == 0 or at == size:
        return at > 0
    if text[at] != b":":
        return False
    port = at + 1
    at = port
    while at < size and at - port < 5 and classes[<unsigned char>text[at]] & DIGIT:
        number = number * 10 + text[at] - 48
        at += 1
    return at == size and number <= 65535


cdef object read_request(bytes data, Py_ssize_t max_fields, Py_ssize_t max_target):
    """The head, or None where ``grammar`` has to look."""
    global learned
    cdef const char *text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), at = 0, begin, path_end, end, count = 0, length_of_value
    cdef Line line
    cdef Known *entry
    cdef PyObject *there
    cdef int option, what, found
    cdef bint keep_alive = True, expect = False
    cdef str target, path, query, value, name, key, host = None, length = None, coding = None
    cdef dict environ = {}
    cdef RequestHead head
    cdef char room[ROOM]
    cdef Py_ssize_t put = 0

    while at < size and at < 8 and classes[<unsigned char>text[at]] & UPPER:
        at += 1
    method = methods.get(text[:at])
    if method is None or at + 1 >= size or text[at] != b" " or text[at + 1] != b"/":
        return None
    at += 1
    begin = at
    while at < size and classes[<unsigned char>text[at]] & PATH:
        at += 1
    path_end = at
    if at < size and text[at] == b"?":
        at += 1
        while at < size and classes[<unsigned char>text[at]] & QUERY:
            at += 1
    end = at
    if end - begin > max_target or size - at < 11 or memcmp(text + at, b" HTTP/1.1\r\n", 11) != 0:
        return None
    at += 11
    target = latin1(text + begin, end - begin)
    path = target if path_end == end else latin1(text + begin, path_end - begin)
    query = "" if path_end == end else latin1(text + path_end + 1, end - path_end - 1)

    while True:
        found = read_line(text, size, at, &line)
        if found <= 0:
            break
        at = line.next
        count += 1
        if count > max_fields:
            return None
        length_of_value = line.value_end - line.value
        value = latin1(text + line.value, length_of_value)
        entry = look_up(request_names, text + line.name, line.name_end - line.name)
        if entry != NULL:
            key, what = <str>entry.key, entry.what
        else:
            name = latin1(text + line.name, line.name_end - line.name)
            key = environ_key(name)
            if not key or key in own_keys:  # the field is unfit, or one of those below in an unusual spelling
                return None
            what = FORWARDED if forwardable([(name, value)]) else OWN
            if learned < MOST_LEARNED and line.name_end - line.name < LONGEST_LEARNED:
                learned += 1
                add(request_names, name, key, what)
        if what == FORWARDED:
            put = put_line(room, put, text + line.name, line.name_end - line.name, text + line.value, length_of_value)
            if put < 0:
                return None
        there = PyDict_GetItem(environ, key)
        if there != NULL:
            if what > OWN:
                return None
            environ[key] = f"{<str>there}; {value}" if key == "HTTP_COOKIE" else f"{<str>there},{value}"
            continue
        PyDict_SetItem(environ, key, value)
        if what == NAMED_HOST:
            if not is_plain_host(text + line.value, length_of_value):
                return None
            host = value
        elif what == CONNECTION:
            option = connection_option(text + line.value, length_of_value)
            if option < 0:
                return None
            keep_alive = option
        elif what == LENGTH:
            length = value
        elif what == CODING:
            coding = value
        elif what == EXPECT:
            if value != "100-continue":
                return None
            expect = True
    if found < 0 or host is None:
        return None
    head = RequestHead.__new__(RequestHead)
    head.method, head.target, head.version, head.host = method, target, "HTTP/1.1", host
    head.path, head.query = path, query
    head.framing = NO_BODY if length is None and coding is None else request_framing("HTTP/1.1", length, coding)
    head.environ, head.keep_alive, head.expect_continue = environ, keep_alive, expect
    head.lines = latin1(room, put)
    head._data = data
    return head


cdef object read_response(bytes data, str method, Py_ssize_t max_fields):
    """The head, or None where ``grammar`` has to look."""
    cdef const char *text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), at = 13, count = 0
    cdef Line line
    cdef Known *entry
    cdef int status, what, option, found
    cdef bint keep_alive = True, connection = False
    cdef str reason, length = None, coding = None
    cdef list fields = []
    cdef Framing framing
    cdef ResponseHead head

    if size < 17 or memcmp(text, b"HTTP/1.1 ", 9) != 0 or text[12] != b" ":
        return None
    if not classes[<unsigned char>text[9]] & classes[<unsigned char>text[10]] & classes[<unsigned char>text[11]] & DIGIT:
        return None
    status = (text[9] - 48) * 100 + (text[10] - 48) * 10 + text[11] - 48
    if status < 200 or status == 204:
        return None
    while at < size and classes[<unsigned char>text[at]] & VALUE:
        at += 1
    if at > 500 or at + 1 >= size or text[at] != b"\r" or text[at + 1] != b"\n":
        return None
    reason = latin1(text + 13, at - 13)
    at += 2
    while True:
        found = read_line(text, size, at, &line)
        if found <= 0:
            break
        at = line.next
        count += 1
        if count > max_fields:
            return None
        entry = look_up(answer_names, text + line.name, line.name_end - line.name)
        if entry == NULL:
            name = latin1(text + line.name, line.name_end - line.name)
            if is_own_answer_name(name):  # in an unusual spelling
                return None
            fields.append((name, latin1(text + line.value, line.value_end - line.value)))
            continue
        what = entry.what
        if what == FORWARDED or what == DATE:
            fields.append((<object>entry.name, latin1(text + line.value, line.value_end - line.value)))
        elif what == LENGTH:
            if length is not None or line.value_end == line.value:
                return None
            if text[line.value] == b"0" and line.value_end - line.value > 1:
                return None
            length = latin1(text + line.value, line.value_end - line.value)
            fields.append((<object>entry.name, length))
        elif what == CODING:
            if coding is not None:
                return None
            coding = latin1(text + line.value, line.value_end - line.value)
        elif what == CONNECTION:
            option = connection_option(text + line.value, line.value_end - line.value)
            if connection or option < 0:
                return None
            connection, keep_alive = True, option
    if found < 0:
        return None
    framing = response_framing(method, status, "HTTP/1.1", length, coding)
    if framing.until_close or (framing.length == 0 and (coding is not None or (length is not None and length != "0"))):
        keep_alive = False
    head = ResponseHead.__new__(ResponseHead)
    head.status, head.reason, head.version, head.upgrade = status, reason, "HTTP/1.1", ""
    head.fields, head.framing, head.keep_alive = fields, framing, keep_alive
    return head


cdef bint is_own_answer_name(str name):
    lower = name.lower()
    return lower in HOP_BY_HOP or lower in ("content-length", "date")


cdef inline const char *bytes_of(object text, Py_ssize_t *size) noexcept:
    """The characters of a text that has one byte for each; NULL for any other object."""
    if type(text) is not str or PyUnicode_KIND(text) != 1:
        return NULL
    size[0] = PyUnicode_GET_LENGTH(text)
    return <const char *>PyUnicode_DATA(text)


cdef inline Py_ssize_t put_line(char *room, Py_ssize_t at, const char *name, Py_ssize_t name_size, const char *value,
                                Py_ssize_t value_size) noexcept:
    """Put a line into the room at ``at``; where the next one begins, -1 where there is not room enough."""
    if name_size > ROOM or value_size > ROOM or at + name_size + value_size + 4 > ROOM:
        return -1
    memcpy(room + at, name, name_size)
    at += name_size
    room[at] = b":"
    room[at + 1] = b" "
    memcpy(room + at + 2, value, value_size)
    at += 2 + value_size
    room[at] = b"\r"
    room[at + 1] = b"\n"
    return at + 2


cdef object put_forwardable(list fields):
    """The lines of a request's fields, or None where ``lines`` has to look."""
    cdef Py_ssize_t at = 0, name_size, value_size
    cdef const char *name
    cdef const char *value
    cdef Known *entry
    cdef char room[ROOM]
    for field in fields:
        if type(field) is not tuple or len(<tuple>field) != 2:
            return None
        name = bytes_of((<tuple>field)[0], &name_size)
        value = bytes_of((<tuple>field)[1], &value_size)
        if name == NULL or value == NULL:
            return None
        entry = look_up(request_names, name, name_size)
        if (entry.what != FORWARDED) if entry != NULL else not forwardable([field]):
            continue
        at = put_line(room, at, name, name_size, value, value_size)
        if at < 0:
            return None
    return latin1(room, at)


cdef object put_answer(list fields, bint bare):
    """What ``lines.answer_lines`` returns, or None where it has to look."""
    cdef Py_ssize_t at = 0, name_size, value_size, index
    cdef const char *name
    cdef const char *value
    cdef Known *entry
    cdef bint dated = False
    cdef char room[ROOM]
    length = None
    for field in fields:
        if type(field) is not tuple or len(<tuple>field) != 2:
            return None
        name = bytes_of((<tuple>field)[0], &name_size)
        value = bytes_of((<tuple>field)[1], &value_size)
        if name == NULL or value == NULL:
            return None
        entry = look_up(answer_names, name, name_size)
        if entry == NULL:
            if name_size == 0 or is_own_answer_name((<tuple>field)[0]):
                return None
            for index in range(name_size):
                if not classes[<unsigned char>name[index]] & TOKEN:
                    return None
        elif entry.what == LENGTH:
            if length is not None or bare:
                continue
            length = (<tuple>field)[1]
        elif entry.what == DATE:
            dated = True
        elif entry.what != FORWARDED:
            continue
        for index in range(value_size):
            if not classes[<unsigned char>value[index]] & VALUE:
                return None
        at = put_line(room, at, name, name_size, value, value_size)
        if at < 0:
            return None
    return latin1(room, at), length, dated


def is_plain(str text not None):
    """See ``lines.is_plain``."""
    cdef Py_ssize_t size = 0, index
    cdef const char *data = bytes_of(text, &size)
    if data == NULL:
        return lines.is_plain(text)
    for index in range(size):
        if not classes[<unsigned char>data[index]] & PLAIN:
            return False
    return True


def parse_request(data not None, *, max_fields=100, max_target=8192, keep_underscores=False):
    """See ``grammar.parse_request``."""
    head = read_request(data, max_fields, max_target)
    if head is not None:
        return head
    return grammar.parse_request(data, max_fields=max_fields, max_target=max_target, keep_underscores=keep_underscores)


def parse_response(data not None, method, *, max_fields=1000):
    """See ``grammar.parse_response``."""
    head = read_response(data, method, max_fields)
    return grammar.parse_response(data, method, max_fields=max_fields) if head is None else head


def forwardable_lines(fields, connection, relied_on=()):
    """See ``lines.forwardable_lines``."""
    if not connection or connection == "keep-alive" or connection == "close":
        put = put_forwardable(fields) if type(fields) is list else None
        if put is not None:
            return put
    return lines.forwardable_lines(fields, connection, relied_on)


def answer_lines(fields, bare=False):
    """See ``lines.answer_lines``."""
    put = put_answer(fields, bare) if type(fields) is list else None
    return lines.answer_lines(fields, bare) if put is None else put


set_up()
