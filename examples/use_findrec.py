"""FindRec in a pipeline of your own: plain tensors and plain torch, without the benchmark."""

import torch
from torch.nn.functional import cross_entropy

from findrec import Batch, Catalogue, Features, FindRec, FindRecConfig

N = 500  # items have the ids 1..N; 0 is padding
text, image = torch.randn(N + 1, 384), torch.randn(N + 1, 768)  # from encoders; row 0 is padding
present = torch.arange(N + 1) > 0  # which items have the modality
catalogue = Catalogue(N, text=Features(text, present), image=Features(image, present))
model = FindRec(FindRecConfig(dim=64, align_dim=64, max_length=50), catalogue)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

sequences = torch.randint(1, N + 1, (32, 51))  # 32 users, padded at the right where shorter
inputs, targets = sequences[:, :-1], sequences[:, 1:]  # each position predicts the next item
batch = Batch(inputs, rows=torch.arange(32), key=torch.tensor([0, 0]), training=True)  # seed, step
output = model(batch)
loss = cross_entropy(output.states[batch.valid] @ model.item_table().T, targets[batch.valid] - 1)
aux_losses = model.aux_losses(output.aux, batch.valid, batch.key)
weights = model.aux_loss_weights()
(loss + sum(weight * aux_losses[name] for name, weight in weights.items())).backward()
optimizer.step()

with torch.no_grad():
    states = model(Batch(sequences, torch.arange(32), torch.tensor([0, 0]))).states
    last = states[torch.arange(32), (sequences > 0).sum(1) - 1]
    scores = last @ model.item_table().T  # [32, N]; column i - 1 scores item i
print(f"loss {loss:.3f}, first user's five best items: {(scores[0].topk(5).indices + 1).tolist()}")
