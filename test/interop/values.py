"""Python's values from JSON, to give to name servers, and as JSON, to compare what they give back."""
import array
import collections
import copy_reg
import datetime
import decimal
import re
import types
import uuid

import client_classes
import Pyro.core
import Pyro.naming


def list_child(*items):
    made = client_classes.ListChild(items)
    made.label = 'child'
    return made


def dict_child(*items):
    made = client_classes.DictChild((index, item) for index, item in enumerate(items))
    made.label = 'child'
    return made


def error(*arguments):
    made = client_classes.Error(*arguments)
    made.attribute = list(arguments)
    return made


def default_dict(*items):
    return collections.defaultdict(list, enumerate(items))


def uri(protocol, address, port, object_id):
    """A PyroURI with any state, good or bad."""
    made = Pyro.core.PyroURI('127.0.0.1', 'x', 1)
    made.protocol, made.address, made.port, made.objectID = protocol, address, port, object_id
    return made


def system_meta(kind, timestamp, owner):
    made = Pyro.naming.NameSpaceSystemMeta(None, timestamp, owner)
    made.type = kind
    return made


MAKERS = {
    'OldStyle': client_classes.OldStyle,
    'OldStyleWithArguments': client_classes.OldStyleWithArguments,
    'NewStyle': client_classes.NewStyle,
    'WithNewArguments': client_classes.WithNewArguments,
    'WithSlots': client_classes.WithSlots,
    'WithFalseState': client_classes.WithFalseState,
    'ListChild': list_child,
    'DictChild': dict_child,
    'StrChild': lambda *items: client_classes.StrChild(len(items)),
    'Error': error,
    'ValueError': ValueError,
    'Reduced': client_classes.Reduced,
    'Registered': client_classes.Registered,
    'a class': lambda *items: client_classes.NewStyle,
    'a function': lambda *items: client_classes.rebuild,
    'a built-in': lambda *items: len,
    'a type': lambda *items: dict,
    'datetime': lambda *items: datetime.datetime(2002, 1, 16, 16, 45, 2, 123456),
    'date': lambda *items: datetime.date(2002, 1, 16),
    'time': lambda *items: datetime.time(23, 59, 10, 92),
    'timedelta': lambda *items: datetime.timedelta(-1, 2, 3),
    'Decimal': lambda *items: decimal.Decimal('-12.340'),
    'UUID': lambda *items: uuid.UUID(int=2 ** 127 + len(items)),
    'OrderedDict': lambda *items: collections.OrderedDict((item, index) for index, item in enumerate('zyx')),
    'defaultdict': default_dict,
    'deque': lambda *items: collections.deque(items),
    'array': lambda *items: array.array('d', [1.5, -2.25]),
    'bytearray': lambda *items: bytearray(range(256)),
    'pattern': lambda *items: re.compile('a+b', re.I),
    'xrange': lambda *items: xrange(3, 30, 3),
    'PyroURI': uri,
    'NameSpaceSystemMeta': system_meta,
}


class Builder(object):
    """Builds one value; `ref` leads to a container that was begun before, which makes shared and cyclic values."""

    def __init__(self):
        self.containers = []

    def build(self, source):
        return getattr(self, 'build_' + source['t'])(source.get('v'))

    def build_all(self, sources):
        return [self.build(source) for source in sources]

    def build_none(self, _):
        return None

    def build_bool(self, value):
        return value

    def build_int(self, digits):
        return int(digits)

    def build_long(self, digits):
        return long(digits)

    def build_float(self, text):
        return float(text)

    def build_complex(self, (real, imaginary)):
        return complex(float(real), float(imaginary))

    def build_str(self, text):
        return text.encode('latin-1')

    def build_unicode(self, units):
        # Two surrogates that make a pair are one character to JavaScript, and to Python's own UTF-8: so they are here.
        return u''.join(map(unichr, units)).encode('utf-8').decode('utf-8')

    def build_tuple(self, items):
        return tuple(self.build_all(items))

    def build_list(self, items):
        made = []
        self.containers.append(made)
        made.extend(self.build_all(items))
        return made

    def build_dict(self, pairs):
        made = {}
        self.containers.append(made)
        for key, value in pairs:
            made[self.build(key)] = self.build(value)
        return made

    def build_set(self, items):
        return set(self.build_all(items))

    def build_frozenset(self, items):
        return frozenset(self.build_all(items))

    def build_cycle(self, items):
        """An instance that holds itself, as a parent that its children know."""
        made = client_classes.NewStyle()
        self.containers.append(made)
        made.children = self.build_all(items)
        made.itself = made
        return made

    def build_make(self, (name, items)):
        return MAKERS[name](*self.build_all(items))

    def build_ref(self, number):
        return self.containers[number % len(self.containers)] if self.containers else None


ATOMS = (type(None), bool, int, long, float, complex, str, unicode)


class Describer(object):
    """Describes one value as JSON: types by name, atoms by repr, what occurs twice by where it was first."""

    def __init__(self):
        self.seen = {}
        self.alive = []

    def describe(self, value):
        kind = type(value)
        if kind in ATOMS:
            return [kind.__name__, repr(value)]
        if isinstance(value, (type, types.ClassType, types.FunctionType, types.BuiltinFunctionType)):
            return ['global', '%s.%s' % (value.__module__, value.__name__)]
        if kind is tuple and not value:
            return ['tuple', []]
        if id(value) in self.seen:
            return ['same', self.seen[id(value)]]
        self.seen[id(value)] = len(self.seen)
        self.alive.append(value)
        if kind in (tuple, list):
            return [kind.__name__, self.describe_all(value)]
        if kind in (set, frozenset):
            return [kind.__name__, sorted(self.describe_all(value))]
        if kind is dict:
            return ['dict', self.describe_pairs(value.iteritems())]
        if kind is types.InstanceType:
            name = '%s.%s' % (value.__module__, value.__class__.__name__)
            return ['old', name, self.describe(value.__dict__)]
        return self.describe_reduction(value)

    def describe_all(self, items):
        return [self.describe(item) for item in items]

    def describe_pairs(self, pairs):
        keyed = sorted(((Describer().describe(key), value) for key, value in pairs), key=lambda pair: pair[0])
        return [[key, self.describe(value)] for key, value in keyed]

    def describe_reduction(self, value):
        reduce_value = copy_reg.dispatch_table.get(type(value)) or (lambda it: it.__reduce_ex__(2))
        reduction = reduce_value(value)
        if isinstance(reduction, str):
            return ['global', reduction]
        function, arguments, state, items, pairs = (tuple(reduction) + (None,) * 5)[:5]
        self.alive.append(reduction)
        described = ['instance', self.describe(function), self.describe_all(arguments), self.describe(state)]
        described.append(self.describe_all(items) if items is not None else None)
        described.append(self.describe_pairs(pairs) if pairs is not None else None)
        return described


def describe(value):
    return Describer().describe(value)
