"""Every worked number of the diffusion room, in float64."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.diffusion.consistency import karras_sigmas, scalings
from accord.diffusion.objective import Pairs, denoising_error, diffusion_dpo, literal_difference, predicted_noise
from accord.diffusion.schedule import Schedule

Golden = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    return {case["method"]: case for case in cases}


def row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def close(actual: Tensor | float, expected: Any) -> None:
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(torch.as_tensor(actual, dtype=torch.float64), wanted, rtol=1e-6, atol=1e-9)


def test_noised_items(golden: Golden) -> None:
    inputs, expected = golden["diffusion_dpo.loss"]["inputs"], golden["diffusion_dpo.loss"]["expected"]
    schedule = Schedule(torch.tensor([0.9, inputs["alpha_bar_t"]], dtype=torch.float64))
    t, noise = torch.tensor([1]), row(inputs["noise"])
    close(schedule.noised(row(inputs["x0_w"]), t, noise)[0], expected["x_t_w"])
    close(schedule.noised(row(inputs["x0_l"]), t, noise)[0], expected["x_t_l"])


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_diffusion_dpo(golden: Golden, reduce: Any) -> None:
    inputs, expected = golden["diffusion_dpo.loss"]["inputs"], golden["diffusion_dpo.loss"]["expected"]
    schedule = Schedule(torch.tensor([inputs["alpha_bar_t"]], dtype=torch.float64))
    pairs = Pairs(row(inputs["x0_w"]), row(inputs["x0_l"]), torch.zeros(1, dtype=torch.long))
    noise = row(inputs["noise"])

    def error(name: str) -> Tensor:
        def model(items: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return torch.cat([row(inputs[f"pred_{name}_w"]), row(inputs[f"pred_{name}_l"])])

        predicted = predicted_noise(model, schedule, pairs, torch.tensor([0]), noise)
        return denoising_error(predicted, noise, reduce=reduce)

    terms = diffusion_dpo(error("model"), error("ref"), beta=inputs["beta"])
    close(terms.metrics["margin"][0][0], expected[f"inside_{reduce}"])
    close(terms.value(), expected[f"loss_{reduce}"])


def test_literal_difference(golden: Golden) -> None:
    case = golden["diffusion_dpo.seed_literal"]
    predicted = torch.stack([row(case["inputs"]["pred_w"]), row(case["inputs"]["pred_l"])], 1)
    close(literal_difference(predicted).value(), case["expected"]["loss"])


def test_consistency_scalings(golden: Golden) -> None:
    inputs, expected = golden["consistency.scalings"]["inputs"], golden["consistency.scalings"]["expected"]
    limits = {name: inputs[name] for name in ("sigma_data", "sigma_min")}
    sigma = torch.tensor([inputs["sigma"], inputs["sigma_min"]], dtype=torch.float64)
    skip, out, into = scalings(sigma, **limits)
    close(torch.stack([skip[0], out[0], into[0]]), [expected[name] for name in ("c_skip", "c_out", "c_in")])
    close(torch.stack([skip[1], out[1]]), [expected["at_sigma_min"][name] for name in ("c_skip", "c_out")])


def test_karras_sigmas(golden: Golden) -> None:
    inputs, expected = golden["consistency.karras_sigmas"]["inputs"], golden["consistency.karras_sigmas"]["expected"]
    limits = {name: inputs[name] for name in ("sigma_min", "sigma_max", "rho")}
    close(karras_sigmas(inputs["n"], dtype=torch.float64, **limits), expected["descending"])
