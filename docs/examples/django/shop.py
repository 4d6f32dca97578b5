"""A cart that is forgotten is written about, once."""

import requests
from django.conf import settings
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

letters = []


@csrf_exempt
@require_POST
def touch_cart(request, cart):
    """Put the letter off, each time that something is done to the cart."""
    timer = {
        "delay": 1800,
        "callback_url": request.build_absolute_uri("/letters"),
        "callback_payload": cart,
    }
    kept = requests.put(
        f"{settings.TIMERS_URL}/timers/by-key/cart-{cart}",
        json=timer,
        headers={"X-API-Key": settings.TIMERS_KEY},
        timeout=5,
    )
    kept.raise_for_status()
    return JsonResponse({"timer": kept.json()["data"]["id"]})


@csrf_exempt
@require_POST
def write_letter(request):
    letters.append(request.body.decode())
    return HttpResponse(status=204)


urlpatterns = [path("carts/<int:cart>", touch_cart), path("letters", write_letter)]
