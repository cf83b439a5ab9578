"""Classes that exist only at the clients (and at a real Pyro 3 server, which must import what it is sent)."""
import copy_reg


class OldStyle:
    def __init__(self, *values):
        self.values = values


class OldStyleWithArguments:
    """Its pickle calls it with arguments: INST and OBJ with something between."""

    def __init__(self, *values):
        self.values = values

    def __getinitargs__(self):
        return self.values


class NewStyle(object):
    def __init__(self, *values):
        self.values = values


class WithNewArguments(object):
    """NEWOBJ with arguments, in protocol 2."""

    def __new__(cls, *values):
        self = object.__new__(cls)
        self.values = values
        return self

    def __getnewargs__(self):
        return self.values


class WithSlots(object):
    """A state that is no dict of attributes: (None, slots)."""
    __slots__ = ('first', 'rest')

    def __init__(self, first=None, *rest):
        self.first = first
        self.rest = rest

    def __getstate__(self):
        return None, {'first': self.first, 'rest': self.rest}

    def __setstate__(self, state):
        self.first = state[1]['first']
        self.rest = state[1]['rest']


class WithFalseState(object):
    """A state that counts as false, which protocol 2 leaves out, and others may not."""

    def __init__(self, *values):
        self.values = values

    def __getstate__(self):
        return ()

    def __setstate__(self, state):
        self.values = state


class ListChild(list):
    pass


class DictChild(dict):
    pass


class StrChild(str):
    pass


class Error(Exception):
    pass


def rebuild(*values):
    made = Reduced(*values)
    made.rebuilt = True
    return made


class Reduced(object):
    """REDUCE by a function, with a state."""

    def __init__(self, *values):
        self.values = values

    def __reduce__(self):
        return rebuild, self.values, {'state': list(self.values)}


class Registered(object):
    """Known to pickles by a code of copy_reg's extension registry: EXT1 in protocol 2."""

    def __init__(self, *values):
        self.values = values


copy_reg.add_extension('client_classes', 'Registered', 77)
