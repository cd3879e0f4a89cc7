from hwgen.api import HwgenError as HwgenError
from hwgen.api import build as build
from hwgen.api import designs as designs
from hwgen.api import estimate as estimate
from hwgen.api import explore as explore
from hwgen.api import load as load
from hwgen.api import predict as predict
from hwgen.api import project as project
from hwgen.api import quantize as quantize
from hwgen.api import resources as resources
from hwgen.api import simulate as simulate

__version__: str
