"""A trial that ends after a fortnight, with a warning a day before."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(app):
    headers = {"X-API-Key": os.environ.get("TIMERS_KEY", "")}
    url = os.environ.get("TIMERS_URL", "http://127.0.0.1:8080")
    async with httpx.AsyncClient(base_url=url, headers=headers) as app.state.timers:
        app.state.trials = {}
        yield


app = FastAPI(lifespan=lifespan)


class Stage(BaseModel):
    customer: str
    stage: str


@app.post("/trials/{customer}", status_code=201)
async def begin_trial(customer: str, request: Request):
    callback_url = str(request.url_for("enter_stage"))
    for delay, stage in (("P13D", "ends soon"), ("P14D", "ended")):
        timer = {
            "delay": delay,
            "callback_url": callback_url,
            "callback_payload": {"customer": customer, "stage": stage},
        }
        (await app.state.timers.post("/timers", json=timer)).raise_for_status()
    app.state.trials[customer] = "running"


@app.post("/stages", status_code=204)
async def enter_stage(stage: Stage):
    app.state.trials[stage.customer] = stage.stage
