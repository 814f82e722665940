# The tables of ``_codec``: which character may stand where, and which field names are known by sight.

cdef enum:  # classes of characters, as ``grammar`` has them
    TOKEN = 1
    VALUE = 2
    PATH = 4
    QUERY = 8
    HOST = 16
    DIGIT = 32
    UPPER = 64
    PLAIN = 128

cdef enum:  # what a known name stands for
    FORWARDED = 0  # goes on as it is
    OWN = 1  # belongs to one hop, or is decided anew
    NAMED_HOST = 2
    LENGTH = 3
    CODING = 4
    CONNECTION = 5
    EXPECT = 6
    DATE = 7

cdef enum:
    SLOTS = 1024  # of a table of known names: a power of two, well over four times their number
    MOST_LEARNED = 256  # unknown request names that are kept in mind, each in the spelling that it came in
    LONGEST_LEARNED = 64  # bytes of such a name
    ROOM = 32768  # bytes of lines that are put together here

cdef struct Known:
    const char *text
    Py_ssize_t size
    PyObject *name
    PyObject *key
    int what

cdef unsigned char classes[256]
cdef Known request_names[SLOTS]
cdef Known answer_names[SLOTS]
cdef list keep = []  # the objects that the tables point to
cdef int learned = 0
cdef frozenset own_keys = frozenset(environ_key(name) for name in OWN_REQUEST_NAMES)
cdef dict methods = {name.encode(): name for name in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")}


cdef inline unsigned int slot_of(const char *text, Py_ssize_t size) noexcept:
    return (<unsigned int>size * 37 + <unsigned char>text[0] * 7 + <unsigned char>text[size - 1] * 131
            + <unsigned char>text[size >> 1] * 17) & (SLOTS - 1)


cdef inline Known *look_up(Known *known, const char *text, Py_ssize_t size) noexcept:
    cdef unsigned int slot
    if size == 0:
        return NULL
    slot = slot_of(text, size)
    while known[slot].text != NULL:
        if known[slot].size == size and memcmp(known[slot].text, text, size) == 0:
            return &known[slot]
        slot = (slot + 1) & (SLOTS - 1)
    return NULL


cdef add(Known *known, str name, str key, int what):
    cdef bytes text = name.encode("latin-1")
    cdef unsigned int slot = slot_of(text, len(text))
    keep.extend((text, name, key))
    while known[slot].text != NULL:
        slot = (slot + 1) & (SLOTS - 1)
    known[slot] = Known(PyBytes_AS_STRING(text), len(text), <PyObject *>name, <PyObject *>key, what)


cdef classify(letters, unsigned char kind):
    for letter in letters:
        classes[letter] |= kind


def set_up():
    """Fill the tables; called once, when the module is loaded."""
    digits, letters = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    visible = range(0x21, 0x7F)
    classify(b"!#$%&'*+-.^_`|~" + digits + letters, TOKEN)
    classify([0x09, 0x20, *visible, *range(0x80, 0x100)], VALUE)
    classify([letter for letter in visible if letter not in b"#?\\"], PATH)
    classify([letter for letter in visible if letter != 0x23], QUERY)
    classify(b"._~!$&'()*+;=-" + digits + letters, HOST)
    classify([letter for letter in range(0x20, 0x7F) if letter not in b'"\\'], PLAIN)
    classify(digits, DIGIT)
    classify(letters[:26], UPPER)
    own = {
        "Connection": CONNECTION, "Content-Length": LENGTH, "Expect": EXPECT, "Host": NAMED_HOST,
        "Transfer-Encoding": CODING,
    }
    for name in COMMON_REQUEST_NAMES:
        for spelling in {name, name.lower(), name.title()}:
            add(request_names, spelling, environ_key(name), FORWARDED)
    for name in OWN_REQUEST_NAMES:
        for spelling in {name, name.lower(), name.title()}:
            add(request_names, spelling, environ_key(name), own.get(name, OWN))
    for name, what in (("Connection", CONNECTION), ("Content-Length", LENGTH), ("Date", DATE), ("Keep-Alive", OWN),
                       ("Transfer-Encoding", CODING)):
        for spelling in {name, name.lower()}:
            add(answer_names, spelling, "", what)
    for name in COMMON_ANSWER_NAMES:
        for spelling in {name, name.lower()}:
            add(answer_names, spelling, "", FORWARDED)
