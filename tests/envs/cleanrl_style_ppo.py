"""PPO in one file, in CleanRL's manner, that knows nothing of this package but the name of an id.

`python cleanrl_style_ppo.py --env-id AKDBench-v0 --total-timesteps 2000` prints one line of JSON an episode.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import akd_gym  # noqa: F401 - registers the ids


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--env-id", default="AKDBench-v0")
    parser.add_argument("--total-timesteps", type=int, default=2000)
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--num-steps", type=int, default=72)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--update-epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--gamma", type=float, default=1.0)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip-coef", type=float, default=0.2)
    parser.add_argument("--ent-coef", type=float, default=0.01)
    parser.add_argument("--vf-coef", type=float, default=0.5)
    parser.add_argument("--max-grad-norm", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def make_env(env_id: str) -> Callable[[], gym.Env]:
    def thunk() -> gym.Env:
        return gym.wrappers.RecordEpisodeStatistics(gym.make(env_id))

    return thunk


def layer(inputs: int, outputs: int, std: float = np.sqrt(2)) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, std)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__()
        size = int(np.prod(envs.single_observation_space.shape))
        self.critic = nn.Sequential(layer(size, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
        actions = int(envs.single_action_space.n)
        self.actor = nn.Sequential(layer(size, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, actions, 0.01))

    def value(self, obs: torch.Tensor) -> torch.Tensor:
        return self.critic(obs).squeeze(-1)

    def act(self, obs: torch.Tensor, action: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        distribution = Categorical(logits=self.actor(obs))
        action = distribution.sample() if action is None else action
        return action, distribution.log_prob(action), distribution.entropy(), self.value(obs)


def main() -> None:
    args = parse()
    random.seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002 - as CleanRL does
    torch.manual_seed(args.seed)
    envs = gym.vector.SyncVectorEnv([make_env(args.env_id) for _ in range(args.num_envs)])
    assert isinstance(envs.single_action_space, gym.spaces.Discrete)
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    obs = torch.zeros((*shape, *envs.single_observation_space.shape))
    actions, logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(5))
    batch_size = args.num_steps * args.num_envs

    step, done = 0, np.zeros(args.num_envs)
    next_obs, _ = envs.reset(seed=args.seed)
    for _ in range(args.total_timesteps // batch_size):
        for t in range(args.num_steps):
            step += args.num_envs
            obs[t], dones[t] = torch.as_tensor(next_obs), torch.as_tensor(done)
            with torch.no_grad():
                action, logprobs[t], _, values[t] = agent.act(obs[t])
            actions[t] = action
            next_obs, reward, terminated, truncated, infos = envs.step(action.numpy())
            rewards[t], done = torch.as_tensor(reward), np.logical_or(terminated, truncated).astype(float)
            if "episode" in infos:
                for i in np.flatnonzero(infos["_episode"]):
                    episode = {"return": float(infos["episode"]["r"][i]), "length": int(infos["episode"]["l"][i])}
                    print(json.dumps({"global_step": step, **episode}), flush=True)

        with torch.no_grad():
            following, alive = agent.value(torch.as_tensor(next_obs)), 1 - torch.as_tensor(done).float()
            advantages, running = torch.zeros(shape), torch.zeros(args.num_envs)
            for t in reversed(range(args.num_steps)):
                delta = rewards[t] + args.gamma * following * alive - values[t]
                running = delta + args.gamma * args.gae_lambda * alive * running
                advantages[t] = running
                following, alive = values[t], 1 - dones[t]
            returns = advantages + values

        flat = [x.flatten(0, 1) for x in (obs, actions, logprobs, advantages, returns)]
        for _ in range(args.update_epochs):
            for rows in torch.randperm(batch_size).chunk(args.num_minibatches):
                b_obs, b_actions, b_logprobs, b_advantages, b_returns = (x[rows] for x in flat)
                _, logprob, entropy, value = agent.act(b_obs, b_actions)
                b_advantages = (b_advantages - b_advantages.mean()) / (b_advantages.std() + 1e-8)
                ratio = (logprob - b_logprobs).exp()
                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                policy_loss = -torch.min(b_advantages * ratio, b_advantages * clipped).mean()
                value_loss = 0.5 * (value - b_returns).square().mean()
                loss = policy_loss - args.ent_coef * entropy.mean() + args.vf_coef * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()
    envs.close()


if __name__ == "__main__":
    main()
