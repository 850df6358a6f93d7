#!/usr/bin/env python3
"""Python clients, plain and with tracing: each sends one `GET`. Prints `NAME TAB note`."""

import asyncio
import sys
import urllib.request
from importlib.metadata import version

URL = sys.argv[1]
SPAN = dict(trace_id=0x0AF7651916CD43DD8448EB211C80319C, span_id=0xB7AD6B7169203331)


def note(name, packages, call):
    programs = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"{name}\t{programs or 'Python ' + sys.version.split()[0]}; recorded: {call}")


def plain():
    import aiohttp
    import httpx
    import requests
    import urllib3

    urllib.request.urlopen(f"{URL}/python-urllib").read()
    note("python-urllib", [], "urllib.request.urlopen(url)")
    requests.get(f"{URL}/requests")
    note("requests", ["requests"], "requests.get(url)")
    requests.get(f"{URL}/requests-basic", auth=("alice", "secret"))
    note("requests-basic", ["requests"], "requests.get(url, auth=(user, password))")
    urllib3.request("GET", f"{URL}/urllib3")
    note("urllib3", ["urllib3"], 'urllib3.request("GET", url)')
    httpx.get(f"{URL}/httpx")
    note("httpx", ["httpx"], "httpx.get(url)")
    with httpx.Client(http1=False, http2=True) as client:
        client.get(f"{URL}/httpx-h2c")
    note("httpx-h2c", ["httpx"], "httpx.Client(http1=False, http2=True).get(url)")

    async def call():
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{URL}/aiohttp") as response:
                await response.read()

    asyncio.run(call())
    note("aiohttp", ["aiohttp"], "ClientSession().get(url)")


def opentelemetry():
    import requests
    from opentelemetry import baggage, context, trace
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.propagate import set_global_textmap
    from opentelemetry.propagators.aws import AwsXRayPropagator
    from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
    from opentelemetry.propagators.cloud_trace_propagator import CloudTraceFormatPropagator
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.propagators.jaeger import JaegerPropagator
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    trace.set_tracer_provider(TracerProvider())
    RequestsInstrumentor().instrument()
    w3c, bag = TraceContextTextMapPropagator(), W3CBaggagePropagator()
    for name, what, propagator, item in [
        ("otel-w3c", "the default propagators (tracecontext, baggage), no baggage set", CompositePropagator([w3c, bag]), None),
        ("otel-w3c-baggage", "the default propagators, baggage set", CompositePropagator([w3c, bag]), "account.id"),
        ("otel-b3-multi", "propagator b3multi", B3MultiFormat(), None),
        ("otel-b3-single", "propagator b3", B3SingleFormat(), None),
        ("otel-xray", "propagator xray", AwsXRayPropagator(), None),
        ("otel-gcp", "propagator gcp_trace", CloudTraceFormatPropagator(), None),
        ("otel-jaeger", "propagator jaeger", JaegerPropagator(), None),
    ]:
        set_global_textmap(propagator)
        parent = trace.set_span_in_context(
            trace.NonRecordingSpan(
                trace.SpanContext(
                    **SPAN,
                    is_remote=True,
                    trace_flags=trace.TraceFlags(1),
                    trace_state=trace.TraceState([("vendor", "value")]),
                )
            )
        )
        token = context.attach(baggage.set_baggage(item, "42", parent) if item else parent)
        requests.get(f"{URL}/{name}")
        context.detach(token)
        note(name, ["opentelemetry-instrumentation-requests", "requests"], what)
    RequestsInstrumentor().uninstrument()


def sentry():
    import requests
    import sentry_sdk

    sentry_sdk.init(dsn="http://key@localhost:9/1", traces_sample_rate=1.0)
    with sentry_sdk.start_transaction(name="record", op="test"):
        requests.get(f"{URL}/sentry")
    note("sentry", ["sentry-sdk", "requests"], "tracing on, inside of a transaction (sends baggage)")
    sentry_sdk.init()


def elastic():
    import elasticapm
    import requests

    client = elasticapm.Client(service_name="record", server_url="http://127.0.0.1:1", api_request_time="10s")
    elasticapm.instrument()
    client.begin_transaction("record")
    requests.get(f"{URL}/elastic-apm")
    client.end_transaction("record", "ok")
    note("elastic-apm", ["elastic-apm", "requests"], "inside of a transaction")


def datadog():
    import os

    os.environ.update(DD_TRACE_AGENT_URL="http://127.0.0.1:1", DD_INSTRUMENTATION_TELEMETRY_ENABLED="false")
    import ddtrace

    ddtrace.patch(requests=True)
    import requests

    from ddtrace.trace import tracer

    with tracer.trace("record"):
        requests.get(f"{URL}/datadog")
    note("datadog", ["ddtrace", "requests"], "inside of a span, default propagation")


def xray():
    import requests
    from aws_xray_sdk.core import patch, xray_recorder

    xray_recorder.configure(service="record", context_missing="LOG_ERROR", daemon_address="127.0.0.1:1")
    patch(["requests"])
    with xray_recorder.in_segment("record"):
        requests.get(f"{URL}/aws-xray-sdk")
    note("aws-xray-sdk", ["aws-xray-sdk", "requests"], "inside of a segment")


for part in sys.argv[2:]:
    {"plain": plain, "opentelemetry": opentelemetry, "sentry": sentry, "elastic": elastic, "datadog": datadog, "xray": xray}[part]()
