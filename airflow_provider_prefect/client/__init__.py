"""The client: everything that talks to Prefect. It imports nothing of Airflow.

Where is what
-------------

=================  ====================================================================================================
``errors``         the exceptions, with their tree
``model``          what Prefect knows, as frozen values: flow runs, states, task runs, log lines
``settings``       how to reach one API: what an Airflow connection stands for
``urls``           which API a pasted address means, and the pages of Prefect's UI
``transport``      a request, a response, and what carries them; :func:`.transport.run` runs a call in a worker
``responses``      what a response that is not a success means
``retry``          what is sent again, and for how long: a transport around a transport
``http/``          the two transports: ``blocking`` (requests) and ``aio`` (aiohttp); ``common`` has what they share
``rest/``          the REST API of Prefect 2, Prefect 3 and Cloud; each path is spelled once
``graphql/``       the GraphQL API of Prefect 1
``api``            what both APIs offer (:class:`.api.Api`), and which one a connection has; nothing goes around it
``results/``       the formats of stored results, and the restricted unpickler
``wait/``          the one loop that waits for a flow run, its log, and finding the newest run of a deployment
``watcher/``       polls the flow runs of all triggers of a process together, and listens to Prefect's events
=================  ====================================================================================================

Imports point downwards only: ``watcher`` → ``wait`` → ``api`` → ``rest``, ``graphql`` → ``transport``, ``model``,
``errors``. ``http`` knows the transport only. requests and aiohttp are imported there and in ``watcher/events``, and
no Dag file imports these, so that parsing one does not pay for them.

The way of one call
-------------------

Each call is written once, as ``async def`` over a transport. In a worker the transport blocks and never suspends, so
that :func:`.transport.run` takes the coroutine to its end in one step; in the triggerer it is awaited::

    worker                                    triggerer
    run(api.read_flow_run(id))                await api.read_flow_run(id)
        │                                         │
        └──────────── RestApi or GraphqlApi ──────┘      builds a Request, reads the Response into a FlowRun
                              │
                      RetryingTransport                  sends it again until the patience is over,
                              │                          and raises our errors
                     (GraphqlTransport)                  Prefect 1: gives a response its REST status
                              │
              ┌───────────────┴───────────────┐
      BlockingTransport                 AioTransport     headers, TLS, proxy, CSRF token
        (requests)                        (aiohttp)

The way of one wait
-------------------

:func:`.wait.flow_run.wait_for_flow_run` is the only loop. It asks a source for the next state until that is final, and
tells an observer, which writes the task's log::

    worker                                    triggerer
    wait_for_flow_run(Poller, …)              wait_for_flow_run(Subscription, …)
        │                                         │
      Poller                                  Subscription        a future that the watcher sets
        │ sleep, GET /flow_runs/{id}              │
        │                                      Watcher            one POST /flow_runs/filter for up to 1,000
        │                                         │               flow runs; an event makes one due at once
      BlockingTransport                        SharedConnection   one AioTransport for all triggers of the
                                                                  process that use the same API

Both sources tolerate failed polls alike: see :mod:`.wait.trouble`.
"""
