"""A shop that reminds of an order a week after it was placed."""

import os

import requests
from flask import Flask, request

app = Flask(__name__)
app.reminded = []


@app.post("/orders/<int:number>")
def place_order(number):
    timer = {
        "delay": "P7D",
        "callback_url": f"{app.config['OWN_URL']}/remind",
        "callback_payload": {"order": number},
        "retry": {"delays": [60, 600], "jitter": 0},
    }
    created = requests.post(
        f"{app.config['TIMERS_URL']}/timers",
        json=timer,
        headers={"X-API-Key": app.config["TIMERS_KEY"]},
        timeout=5,
    )
    created.raise_for_status()
    return {"timer": created.json()["data"]["id"]}, 201


@app.post("/remind")
def remind():
    app.reminded.append(request.get_json()["order"])
    return "", 204


app.config.update(
    OWN_URL=os.environ.get("OWN_URL", "http://127.0.0.1:5000"),
    TIMERS_URL=os.environ.get("TIMERS_URL", "http://127.0.0.1:8080"),
    TIMERS_KEY=os.environ.get("TIMERS_KEY", ""),
)
