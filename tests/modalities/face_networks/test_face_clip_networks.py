"""Face networks over CLIP: the authors' numbers under the authors' keys, sizes, what is trained and what stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from data.errors import InputError, WeightsError
from modalities.face_networks.class_texts import class_texts, read_prompts
from modalities.face_networks.papers import cliper, dfer_clip, fineclip, ke_fer
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.parts.clip_face import ClipFaceNetwork, unit
from modalities.face_networks.parts.clip_tower import ClipNetwork, ClipShape, clip_of_state, read_clip, shape_of, tokens_of
from modalities.face_networks.registry import build_network, network_table
from tests.parity import assert_parity, read_parity

PROMPTS = Path(__file__).resolve().parents[3] / "configs" / "prompts"
LABELS = ("happiness", "sadness", "neutral", "anger", "surprise")
SMALL = {
    "embedding": 32, "size": 32, "patch": 16, "width": 64, "layers": 2, "text_width": 64, "text_heads": 1, "text_layers": 1,
}  # fmt: skip
OURS = ("fineclip", "cliper", "dfer-clip", "dfer-clip-released", "ke-fer", "ke-fer-swin-t", "ke-fer-clip")


def small_clip(seed: int = 0) -> ClipNetwork:
    torch.manual_seed(seed)
    return ClipNetwork(ClipShape()._replace(**SMALL)).eval()


def small_network(name: str, **others: Any) -> ClipFaceNetwork:
    torch.manual_seed(1)
    modules = {"fineclip": fineclip, "cliper": cliper, "dfer-clip": dfer_clip, "ke-fer": ke_fer}
    if name == "dfer-clip":
        others = {"temporal": {"frames": 4, "heads": 2, "head_width": 16, "hidden": 64}, **others}
    if name == "ke-fer":
        others = {"encoder": "clip", **others}
    built = modules[name].build(LABELS, shape=SMALL, **others)
    built.take_clip(small_clip().state_dict())
    return built


def clips(count: int = 4, frames: int = 4, seed: int = 2) -> FaceInputs:
    return FaceInputs(torch.randn(count, frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))


def clip_shape(about: dict[str, int]) -> ClipShape:
    return ClipShape(
        about["embed_dim"], about["image_resolution"], about["vision_patch_size"], about["vision_width"], about["vision_layers"],
        about["transformer_width"], about["transformer_heads"], about["transformer_layers"],
    )  # fmt: skip


def temporal_shape(about: dict[str, int]) -> dfer_clip.TemporalShape:
    return dfer_clip.TemporalShape(
        about["num_patches"], about["input_dim"], about.get("depth", 1), about["heads"], about["dim_head"], about["mlp_dim"]
    )


# ---- the authors' numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "mean", "all"])
def test_temporal_transformer_of_dfer_clip(shared: Path, pooling: Any) -> None:
    sheet = read_parity(shared / "parity" / f"dferclip_temporal_{pooling}.json")
    network = dfer_clip.TemporalTransformer(temporal_shape(sheet.arguments), pooling)
    network.load_state_dict(sheet.state_dict())
    x = sheet.tensors()["x"]
    found = {"y": network(x)}
    if "y_short" in sheet.outputs:
        found["y_short"] = network(x[:, :4])
    assert_parity(found, sheet)


@pytest.mark.parametrize("name", ["model_small", "prompt_front_specific", "prompt_middle_generic"])
def test_dfer_clip_loads_the_authors_keys_and_gives_their_numbers(shared: Path, name: str) -> None:
    sheet = read_parity(shared / "parity" / f"dferclip_{name}.json")
    about = sheet.arguments
    network = dfer_clip.DferClip(
        about["texts"], clip_shape(about["clip"]), temporal_shape(about["temporal"]), tokens=about["contexts_number"],
        position=about["class_token_position"], specific=about["class_specific_contexts"] == "True",
    ).eval()  # fmt: skip
    saved = {f"module.{key}": value for key, value in sheet.state_dict().items()}
    missing, unexpected = network.load_state_dict(network.adapted(saved), strict=False)
    assert (sorted(missing), unexpected) == (sheet.unsupplied, [])
    if sheet.unsupplied:
        network.take_clip(network.clip_model_.state_dict())
    frames = sheet.tensors()["image"]
    features = network.frame_features(frames)
    found = {
        "logits": network.answer(FaceInputs(frames)).logits, "text_features": network.prompt_features(),
        "frame_features": features, "video_feature": network.temporal_net(features),
        "tokenized_prompts": network.prompt_learner.tokenized_prompts.int(),
        "prompts_sub": network.prompt_learner()[:, :24, ::4],
    }  # fmt: skip
    assert_parity({key: value for key, value in found.items() if key in sheet.outputs}, sheet)


def test_cliper_loads_the_authors_keys_and_gives_their_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "cliper_metd_text.json")
    network = cliper.Cliper(7, clip_shape(sheet.arguments["clip"]), prompt=sheet.arguments["prompt"]).eval()
    network.load_state_dict(sheet.state_dict())
    pictures = sheet.tensors()["image"]
    logits, faces = network.descriptor_logits(FaceInputs(pictures[:, None]))
    found = {
        "token_ids": network.ids.int(), "text_features": network.prompt_features(), "image_features": faces,
        "image_layer_cls": network.net.visual.layer_classes(pictures), "logits_all": logits.flatten(1),
        "class_logits": network.answer(FaceInputs(pictures[:, None])).logits,
    }  # fmt: skip
    assert_parity(found, sheet)


def test_descriptor_loss_of_cliper_with_its_gradients(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "cliper_metd_loss.json")
    given = sheet.tensors()
    images, texts = given["image_features"].requires_grad_(), given["text_features"].requires_grad_()
    logits = cliper.descriptor_logits(images, texts, 7)
    terms = cliper.descriptor_loss(logits, given["targets"], release=True)
    terms.loss.backward()
    found = {
        "loss": terms.loss, "logits_all": logits.flatten(1), "margin_logits": terms.margin_logits,
        "fine_logits": terms.fine_logits, "alpha": terms.weights, "class_logits_inference": cliper.class_logits(logits),
        "grad_image_features": images.grad, "grad_text_features": texts.grad,
    }  # fmt: skip
    assert_parity(found, sheet)


@pytest.mark.parametrize("name", OURS)
def test_sizes_without_allocating_weights(name: str) -> None:
    row = network_table().choose(name)
    with torch.device("meta"):
        network = build_network(row)
    assert sum(parameter.numel() for parameter in network.parameters()) == row.parameters


def test_sizes_of_the_papers() -> None:
    with torch.device("meta"):
        dfer, metd, fine = dfer_clip.build(), cliper.build(), fineclip.build()
        clip32 = ClipNetwork(ClipShape(patch=32))

    def count(module: torch.nn.Module, *, trained: bool = False) -> int:
        return sum(one.numel() for one in module.parameters() if one.requires_grad or not trained)

    assert round(count(dfer) / 1e6, 1) == 153.4
    assert round(count(dfer, trained=True) / 1e6, 1) == 90.0
    assert count(dfer.temporal_net) == 2_110_464
    assert dfer.prompt_learner.ctx.numel() == 28_672
    assert count(clip32.visual) == 87_849_216
    assert (round(count(metd) / 1e6, 1), count(metd, trained=True)) == (149.7, 71_680)
    assert count(fine.frame_adapters.blocks[0].time) == 295_872
    assert round(count(fine, trained=True) / 1e6, 1) == 21.3


# ---- CLIP --------------------------------------------------------------------------------------------------------------


def test_towers_agree_with_open_clip_and_take_its_weights(tmp_path: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 64}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(3)
    theirs = open_clip.model.CLIP(32, vision, text, quick_gelu=True).eval()
    save_file(theirs.state_dict(), tmp_path / "clip.safetensors")
    ours = read_clip(tmp_path / "clip.safetensors")
    pictures, ids = torch.randn(2, 3, 32, 32), tokens_of(["a smile", "tears and a frown"])
    with torch.no_grad():
        torch.testing.assert_close(ours.encode_image(pictures), theirs.encode_image(pictures), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.encode_text(ids), theirs.encode_text(ids), rtol=1e-4, atol=1e-5)


def test_weights_that_are_no_clip_are_named() -> None:
    with pytest.raises(WeightsError, match="OpenAI"):
        clip_of_state({"fc.weight": torch.zeros(2, 2)})
    state = small_clip().state_dict()
    assert shape_of(state) == ClipShape()._replace(**SMALL)
    with pytest.raises(WeightsError, match="do not fit"):
        clip_of_state(state, ClipShape()._replace(**SMALL | {"embedding": 16}))


# ---- behaviour of every network -------------------------------------------------------------------------------------------


FOUR = ("fineclip", "cliper", "dfer-clip", "ke-fer")


@pytest.mark.parametrize("name", FOUR)
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    network = small_network(name).eval()
    inputs = clips()
    with torch.inference_mode():
        together = network.answer(inputs)
        alone = network.answer(FaceInputs(inputs.pixels[1:2]))
        again = network.answer(inputs)
    assert together.logits.shape == (4, len(LABELS))
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-3)
    assert torch.equal(together.logits, again.logits)


@pytest.mark.parametrize("name", FOUR)
def test_a_few_steps_lower_the_loss_and_leave_frozen_parts_alone(name: str) -> None:
    network = small_network(name).train()
    before = {key: value.clone() for key, value in network.named_parameters() if not value.requires_grad}
    trained = [value for value in network.parameters() if value.requires_grad]
    rate = 1e-4 if name == "cliper" else 5e-3  # descriptors begin near zero: a norm enlarges their steps
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    inputs, targets = clips(6), F.one_hot(torch.tensor([0, 1, 2, 3, 4, 0]), 5).float()
    losses = []
    for _ in range(12):
        total = torch.stack(list(network.loss(inputs, targets).values())).sum()
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < 0.9 * losses[0], losses
    assert before
    for key, value in before.items():
        assert torch.equal(value, network.get_parameter(key)), key


def test_what_is_trained_gets_a_gradient() -> None:
    for name in FOUR:
        network = small_network(name, **({"text_adapters": True} if name == "fineclip" else {}))
        if name == "fineclip":  # at first the ups are zero, and hide what lies before them
            for key, value in network.named_parameters():
                if ".up." in key:
                    torch.nn.init.normal_(value, std=0.1)
        inputs = clips(4)
        if name == "fineclip":
            parts = {"parsing": clips(4, seed=5).pixels, "landmarks": clips(4, seed=6).pixels}
            inputs = inputs._replace(**parts, caption=tokens_of(["brows rise"] * 4))
        sum(network.loss(inputs, F.one_hot(torch.arange(4), 5).float()).values()).backward()
        for key, value in network.named_parameters():
            assert (value.grad is not None and bool(value.grad.abs().sum() > 0)) == value.requires_grad, (name, key)


def test_texts_are_embedded_once_and_anew_after_training_or_loading() -> None:
    network = small_network("dfer-clip").eval()
    with torch.no_grad():
        first = network.text_embeddings()
        assert network.text_embeddings() is first
        state = network.state_dict()
        network.load_state_dict(state | {"prompt_learner.ctx": torch.randn_like(state["prompt_learner.ctx"])})
        assert not torch.equal(network.text_embeddings(), first)
        second = network.text_embeddings()
        network.train().eval()
        assert network.text_embeddings() is not second


@pytest.mark.parametrize("name", FOUR)
def test_less_precision_rounds_the_answer_and_no_more(name: str) -> None:
    network, inputs = small_network(name).eval(), clips()
    with torch.no_grad():
        exact = network.answer(inputs).logits
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network.answer(inputs).logits
            assert network.text_embeddings() is network.text_embeddings()
        assert torch.equal(network.answer(inputs).logits, exact)  # texts of another precision are not kept
        half = network.to(torch.bfloat16).answer(FaceInputs(inputs.pixels.bfloat16())).logits
    assert mixed.dtype == half.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    for rounded in (mixed, half):  # cosines to two digits
        assert (rounded - exact).abs().max() < (0.02 / 0.01 if name != "ke-fer" else 0.02 / 0.07)


def test_a_checkpoint_with_other_texts_is_read_to_their_ends() -> None:
    longer = {"texts": {label: f"{label} shown by a face with very many words about its brows" for label in LABELS}}
    trained, fresh = small_network("dfer-clip", prompts=longer).eval(), small_network("dfer-clip").eval()
    with torch.no_grad():
        expected = trained.answer(clips()).logits
        assert not torch.allclose(fresh.answer(clips()).logits, expected, atol=1e-2)
        fresh.load_state_dict(trained.state_dict())
        assert torch.equal(fresh.answer(clips()).logits, expected)


def test_depth_of_parameters_rises_from_the_pixels_to_the_answer() -> None:
    for name in (*FOUR, "resnet"):
        network = ke_fer.build(LABELS, "resnet18") if name == "resnet" else small_network(name)
        depths = [network.depth_of(key) for key, value in network.named_parameters() if value.requires_grad]
        assert {last for _, last in depths} == {max(place for place, _ in depths)}, name
    assert ke_fer.build(LABELS, "resnet18").depth_of("encoder.layer3.0.conv1.weight") == (3, 5)
    assert small_network("dfer-clip").depth_of("image_encoder.transformer.resblocks.1.ln_1.weight") == (2, 3)


# ---- DFER-CLIP -------------------------------------------------------------------------------------------------------------


def test_dfer_clip_sees_the_order_of_frames() -> None:
    network = small_network("dfer-clip").eval()
    inputs = clips(2)
    with torch.no_grad():
        turned = network.answer(FaceInputs(inputs.pixels.flip(1))).logits
        assert not torch.allclose(network.answer(inputs).logits, turned, atol=1e-3)


def test_dfer_clip_needs_shared_tensors_once() -> None:
    network = small_network("dfer-clip")
    kept = {key: value for key, value in network.state_dict().items() if key not in network.derived()}
    torch.manual_seed(9)
    other = dfer_clip.build(LABELS, shape=SMALL, temporal={"frames": 4, "heads": 2, "head_width": 16, "hidden": 64})
    missing, unexpected = other.load_state_dict(kept, strict=False)
    assert set(missing) == network.derived()
    assert not unexpected
    with torch.no_grad():
        assert torch.equal(other.eval().answer(clips()).logits, network.eval().answer(clips()).logits)


# ---- CLIPER ----------------------------------------------------------------------------------------------------------------


def test_the_stages_of_cliper() -> None:
    network = small_network("cliper")
    first = {key for key, value in network.named_parameters() if value.requires_grad}
    network.stage(2)
    second = {key for key, value in network.named_parameters() if value.requires_grad}
    assert first == {"text_generator.descriptor"}
    assert second == {key for key, _ in network.named_parameters() if key.startswith("net.visual.")}


def test_weights_of_rare_descriptors() -> None:
    logits = torch.zeros(4, 2, 3)
    logits[[0, 1, 2], 0, 0] = 1.0  # three pictures of class 0 by descriptor 0, one by descriptor 1
    logits[3, 0, 1] = 1.0
    shares = torch.softmax(torch.tensor([1 / 3, 1.0]), 0)
    expected = torch.tensor([4 * shares[0] / 3] * 3 + [4 * shares[1]])
    torch.testing.assert_close(cliper.balance_weights(logits, torch.zeros(4, dtype=torch.long)), expected)


# ---- KE-FER ----------------------------------------------------------------------------------------------------------------


def vectors() -> tuple[Tensor, Tensor]:
    return unit(torch.randn(5, 8, generator=torch.Generator().manual_seed(4))), torch.eye(5)


def test_transformation_is_perfect_along_the_texts() -> None:
    texts, shares = vectors()
    neutral, faces = texts[2], unit(torch.randn(5, 8, generator=torch.Generator().manual_seed(5)))
    turned = faces + 0.3 * (neutral - texts)
    assert ke_fer.transformation_loss(faces, turned, texts, neutral, shares).item() == pytest.approx(0.0, abs=1e-6)
    away = faces - 0.3 * (neutral - texts)
    assert ke_fer.transformation_loss(faces, away, texts, neutral, shares).item() == pytest.approx(4 * 2 / 5, abs=1e-5)
    moved = faces.clone()
    moved[2] = moved[2] + 0.5 * texts[0]
    only = torch.zeros(5, 5).index_put((torch.tensor([2]), torch.tensor([2])), torch.tensor(1.0))
    assert ke_fer.transformation_loss(faces, moved, texts, neutral, only).item() == pytest.approx(0.25 / 5, abs=1e-6)


def test_contrast_is_over_faces_with_an_expression() -> None:
    texts, shares = vectors()
    neutral = texts[2]
    equal = ke_fer.contrast_loss(texts, texts, texts, neutral, shares, 0.07)
    assert equal.item() == pytest.approx(np.log(2), abs=1e-6)  # a face that is as near to its neutral version as to its text
    apart = ke_fer.contrast_loss(texts, -texts, texts, neutral, shares, 0.07)
    assert apart.item() == pytest.approx(0.0, abs=1e-6)
    alone = F.one_hot(torch.full((5,), 2), 5).float()
    assert ke_fer.contrast_loss(texts, texts, texts, neutral, alone, 0.07).item() == 0.0


def test_matching_is_cross_entropy_of_cosines() -> None:
    texts, shares = vectors()
    expected = F.cross_entropy(texts @ texts.T / 0.07, torch.arange(5))
    torch.testing.assert_close(ke_fer.matching_loss(texts, texts, shares, 0.07), expected)


def test_ke_fer_over_clip_is_clip_before_training() -> None:
    network, clip = small_network("ke-fer").eval(), small_clip()
    inputs = clips(3, 1)
    with torch.no_grad():
        texts = unit(clip.encode_text(tokens_of([f"a face showing {label}" for label in LABELS])))
        expected = unit(clip.encode_image(inputs.pixels[:, 0])) @ texts.T / 0.07
        torch.testing.assert_close(network.answer(inputs).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "swin-t"])
def test_ke_fer_takes_imagenet_weights_of_torchvision(encoder: Any) -> None:
    from torchvision.models import resnet18, swin_t

    torch.manual_seed(6)
    trained = {"resnet18": resnet18, "swin-t": swin_t}[encoder](weights=None)
    network = ke_fer.build(LABELS, encoder, shape={"embedding": 32})
    missing, unexpected = network.load_state_dict(network.adapted(trained.state_dict()), strict=False)
    assert not unexpected
    assert {key.partition(".")[0] for key in missing} == {"projection", "transformation", "known", "temperature"}
    with pytest.raises(InputError, match="are needed"):
        network.take_texts(torch.zeros(5, 32))


# ---- FineCLIPER ------------------------------------------------------------------------------------------------------------


def test_untrained_adapters_leave_clip_as_it_is() -> None:
    network = small_network("fineclip").eval()
    inputs = clips(2)
    with torch.no_grad():
        tower = network.clip.visual
        plain = tower.transformer(tower.tokens(inputs.pixels.flatten(0, 1))).view(2, 4, 5, 64).mean(1)
        torch.testing.assert_close(network.frame_adapters(tower, inputs.pixels), tower.project(plain), rtol=1e-4, atol=1e-5)


def test_missing_streams_are_left_out_and_present_ones_count() -> None:
    network = small_network("fineclip").eval()
    with torch.no_grad():
        network.stream_weights.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
        frames = clips(2)
        alone = network.answer(frames).logits
        caption = tokens_of(["the brows rise and the jaw drops", "the lips press together"])
        spoken = network.answer(frames._replace(caption=caption)).logits
        half = network.answer(frames._replace(caption=caption * torch.tensor([[1], [0]]))).logits
        masks = network.answer(frames._replace(parsing=clips(2, seed=8).pixels)).logits
    torch.testing.assert_close(half[1], alone[1], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(half[0], spoken[0], rtol=1e-4, atol=1e-3)
    assert not torch.allclose(spoken, alone, atol=1e-2)
    assert not torch.allclose(masks, alone, atol=1e-2)


def test_zero_shot_is_clip_with_positive_texts() -> None:
    network, clip = small_network("fineclip", mode="zero-shot").eval(), small_clip()
    for parameter in network.frame_adapters.parameters():
        torch.nn.init.normal_(parameter)
    inputs = clips(2)._replace(parsing=clips(2, seed=8).pixels)
    with torch.no_grad():
        texts = unit(clip.encode_text(tokens_of([f"a face showing {label}" for label in LABELS])))
        frames = unit(unit(clip.encode_image(inputs.pixels.flatten(0, 1))).view(2, 4, -1).mean(1))
        torch.testing.assert_close(network.answer(inputs).logits, frames @ texts.T / 0.01, rtol=1e-4, atol=1e-3)


def test_positive_texts_tell_classes_apart_and_each_is_set_against_its_negative() -> None:
    network, inputs = small_network("fineclip").eval(), clips(4)
    targets = F.one_hot(torch.arange(4), 5).float()
    with torch.no_grad():
        streams, _ = network.streams(inputs)
        both = streams[:, 0] @ network.text_embeddings().T / 0.01  # the frames alone are there
        torch.testing.assert_close(network.answer(inputs).logits, both[:, :5], rtol=1e-4, atol=1e-3)
        terms = network.loss(inputs, targets)
        torch.testing.assert_close(terms["classification"], F.cross_entropy(both[:, :5], targets), rtol=1e-4, atol=1e-3)
        denial = F.binary_cross_entropy_with_logits(both[:, :5] - both[:, 5:], targets)
        torch.testing.assert_close(terms["denial"], 0.1 * denial, rtol=1e-4, atol=1e-3)


def test_a_checkpoint_of_adapters_alone_is_enough() -> None:
    network = small_network("fineclip")
    assert all(not value.requires_grad for key, value in network.named_parameters() if key in network.derived())
    kept = {key for key in network.state_dict() if key not in network.derived()}
    assert {key.partition(".")[0] for key in kept} == {"frame_adapters", "part_adapters", "stream_weights"}


# ---- prompt files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dfer_clip", "fineclip", "ke_fer"])
def test_prompt_files_have_texts_for_every_label_order(name: str) -> None:
    tree = read_prompts(PROMPTS / f"face_{name}.yaml")
    for order, labels in network_table().label_orders.items():
        if "other" not in labels:
            texts = class_texts(tree, labels, name)
            assert len(set(texts.positive)) == len(labels), order
            assert len(texts.negative) == (len(labels) if name == "fineclip" else 0)


def test_prompts_reach_the_network() -> None:
    tree = read_prompts(PROMPTS / "face_fineclip.yaml")
    network = fineclip.build(LABELS, shape=SMALL, prompts=tree)
    expected = tokens_of(["a person with an expression of happiness", "a person with an expression of no happiness"])
    assert torch.equal(network.ids[[0, 5]], expected)
    assert cliper.build(LABELS, shape=SMALL, prompts=read_prompts(PROMPTS / "face_cliper.yaml")).gaps == [5, 6, 7, 8]


def test_faults_of_prompt_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'sadness'"):
        class_texts({"texts": {"happiness": "a smile"}}, ["happiness", "sadness"])
    with pytest.raises(InputError, match="'speed' is no field"):
        class_texts({"speed": 1}, LABELS)
    with pytest.raises(InputError, match="exactly one gap"):
        class_texts({"template": "a face", "words": {label: label for label in LABELS}}, LABELS)
    (tmp_path / "bad.yaml").write_text("- one", encoding="utf-8")
    with pytest.raises(InputError, match="must hold"):
        read_prompts(tmp_path / "bad.yaml")
