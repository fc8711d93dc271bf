"""Places that a run's numbers and pictures go to beside its folder: ``watch.report_to`` names them.

A sink is a class of three methods, ``MetricSink``; the four here are thin layers over their packages.  One of your own
is named as ``module:Class`` and made with a ``Run``.
"""

from .sink import SINKS, MetricSink, Run, check_sinks
from .sinks import Sinks

__all__ = ["SINKS", "MetricSink", "Run", "Sinks", "check_sinks"]
