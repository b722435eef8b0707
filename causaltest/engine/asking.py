"""What a model is asked beside plain runs: texts, lenses, attributions, patterns, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from causaltest.engine.rows import as_rows
from causaltest.errors import MetricError
from causaltest.pairs import Pair, Prompt
from causaltest.sites import END, Pos, Site

if TYPE_CHECKING:
    from causaltest.engine.attention import AttentionPatterns
    from causaltest.engine.generation import Generation
    from causaltest.engine.lens import Attribution, LogitLens, Over
    from causaltest.engine.model import Model
    from causaltest.engine.output import Output
    from causaltest.engine.prompts import Row
    from causaltest.engine.steps import When
    from causaltest.interventions import Intervention


class Asking:
    """The questions that `Model` answers by what is built on its runs; `Model` inherits them."""

    @property
    def _model(self) -> Model:
        return cast("Model", self)

    def generate(
        self,
        prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row],
        *,
        max_new_tokens: int,
        intervention: Intervention | None = None,
        when: When | None = None,
        seed: int = 0,
        use_cache: bool = True,
        keep_logits: bool = False,
        read: Site | Iterable[Site] = (),
        **settings: Any,
    ) -> Generation:
        """Write on after prompts, with or without an intervention.

        Transformers models write through their own `generate`, any other module greedily, by plain
        forward passes. The settings stored with a model (temperature, penalties, ...) are put
        aside: what is not said here is greedy. A prompt's text does not depend on the others of
        the call.

        Parameters
        ----------
        prompts
            One prompt or several: texts, token ids, or pairs (their base prompt is used).
        max_new_tokens
            Number of tokens to write, fewer where a text ends.
        intervention
            What to edit.
        when
            `prompt`: the site's positions in the prompt, once. `every step`: the last token of the
            prompt and each new token but the last, as they are read. A list of steps: only these;
            step k reads the k-th new token and gives the next, step 0 reads the prompt. In an
            encoder-decoder the encoder reads the prompt, so that `prompt` edits the encoder
            (`stack="encoder"`), and steps edit the decoder, whose step 0 reads its start token.
        seed
            Root of the random streams, where `do_sample` is set.
        use_cache
            Whether keys and values of earlier tokens are kept. The result is the same.
        keep_logits
            Keep the logits of each new token.
        read
            Sites to read at the token that gives each new one, behind the edits; each text has them
            in `read`. No scores, patterns or encoders, and no beams.
        settings
            As in transformers' GenerationConfig: do_sample, temperature, top_p, num_beams,
            num_return_sequences, eos_token_id, ...

        Returns
        -------
        Generation

        Raises
        ------
        InterventionError
            An edit did not happen, cannot be made at that time, or changed nothing.
        ModelError
            The model does not write text, or a setting is unknown or without effect.

        Examples
        --------
        >>> import torch
        >>> from causaltest.engine.model import Model
        >>> _ = torch.manual_seed(0)
        >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
        >>> len(toy.generate((0, 1), max_new_tokens=3)[0].ids)
        3
        """
        from causaltest.engine.generation import generate

        return generate(
            self._model,
            prompts,
            max_new_tokens=max_new_tokens,
            intervention=intervention,
            when=when,
            seed=seed,
            use_cache=use_cache,
            keep_logits=keep_logits,
            read=read,
            **settings,
        )

    def tokens(self, prompt: Prompt) -> tuple[str, ...]:
        """Return a prompt's tokens as text, in order: what positions count.

        Examples
        --------
        >>> import torch
        >>> from causaltest.engine.model import Model
        >>> Model(torch.nn.Embedding(5, 4)).tokens((3, 1))
        ('3', '1')
        """
        return tuple(self._model.prompts.tokens(prompt))

    def logit_lens(
        self,
        prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row],
        layers: Iterable[int] | None = None,
        pos: Pos = END,
    ) -> LogitLens:
        """Read logits from the residual stream as if each layer were the last.

        The final norm and the unembedding are found by what they take and give; at the last layer
        the lens must give the model's own logits, in every call.

        Parameters
        ----------
        prompts
            One prompt or several: texts, token ids, or pairs (their base prompt is read).
        layers
            Blocks whose output is read; None for all.
        pos
            As on a site.

        Returns
        -------
        LogitLens

        Raises
        ------
        ModelError
            Norm and unembedding are not found, or do not give the model's logits.
        SiteError, PairError
            A layer or position does not exist.

        Notes
        -----
        Logit lens: nostalgebraist 2020, "interpreting GPT: the logit lens".
        """
        from causaltest.engine.lens import logit_lens

        return logit_lens(self._model, as_rows(prompts), layers, pos)

    def direct_logit_attribution(
        self,
        prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row],
        answer: str | int | None = None,
        *,
        against: str | int | None = None,
        over: Over = "components",
        pos: Pos = END,
    ) -> Attribution:
        """Split the logit of an answer into what each component adds to the residual stream.

        The scale of the final norm is held at what it is for each prompt; then the logit is linear
        in the stream. That the parts add up to it is checked, to 1e-4 of their size.

        Parameters
        ----------
        prompts
            One prompt or several: texts, token ids, or pairs (their base prompt is run).
        answer
            The answer; None takes each pair's base answer against its source answer.
        against
            Another answer, whose logit is taken off.
        over
            `components`: the first block's input, attention and MLP of every block. `heads`: the
            same with attention split by head. Or sites of these kinds.
        pos
            Where the answer is read, one token.

        Returns
        -------
        Attribution

        Raises
        ------
        ModelError
            Logits of this model are not linear in the stream, or the parts do not add up.
        SiteError, PairError, MetricError
            A site, position or answer that does not fit.

        Notes
        -----
        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; with the frozen
        norm as in Wang et al. 2022 (arXiv 2211.00593), appendix A.
        """
        from causaltest.engine.lens import direct_logit_attribution

        if answer is None and against is not None:
            raise MetricError("against= needs answer=, the logit it is taken off from")
        return direct_logit_attribution(self._model, as_rows(prompts), (answer, against), over, pos)

    def attention_patterns(
        self,
        prompts: Prompt | Pair | Row | Iterable[Prompt | Pair | Row],
        layer: int,
        head: int | None = None,
    ) -> AttentionPatterns:
        """Return exact attention probabilities by query head: what `attention_pattern` sites read.

        Rows sum to 1, or to less where a sink takes a share. For this one call attention is
        computed eagerly, since fused kernels keep no probabilities; the model's own way is put back
        afterwards.

        Parameters
        ----------
        prompts
            One prompt or several: texts, token ids, or pairs (their base prompt is run).
        layer
            Block.
        head
            Query head; None for all. Where several query heads share keys and values, each has a
            pattern of its own.

        Returns
        -------
        AttentionPatterns

        Raises
        ------
        SiteError
            The layer or head does not exist, or no pattern could be verified.
        ModelError
            Queries or keys are not the prompt's tokens, as in a decoder that only begins to write.
        """
        from causaltest.engine.attention import attention_patterns

        return attention_patterns(self._model, as_rows(prompts), layer, head)

    def top(self, output: Output, pos: Pos = "end") -> str | int:
        """Return the model's most probable answer at a position: text, or a class index.

        Examples
        --------
        >>> import torch
        >>> from causaltest.engine.model import Model
        >>> toy = Model(torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5)))
        >>> toy.top(toy.run([(0, 1, 2)])[0]) in range(5)
        True
        """
        index = int(output.at(pos).argmax())
        prompts = self._model.prompts
        if prompts.tokenizer is None:
            return index
        # A token decoded alone can lose its leading space.
        ids = list(prompts.ids(output.row.prompt))
        before, whole = (prompts.tokenizer.decode(each) for each in (ids, [*ids, index]))
        if whole.startswith(before):
            return str(whole[len(before) :])
        return str(prompts.tokenizer.decode([index]))
