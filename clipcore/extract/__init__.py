"""One column of texts or pictures -> one row of features each, in constant memory, whatever the table's length."""

from clipcore.extract.columns import Choice as Choice
from clipcore.extract.columns import Kind as Kind
from clipcore.extract.columns import parse_schema as parse_schema
from clipcore.extract.encoding import RowFeatures as RowFeatures
from clipcore.extract.formats import Output as Output
from clipcore.extract.running import Extracted as Extracted
from clipcore.extract.running import check as check
from clipcore.extract.running import extract as extract
