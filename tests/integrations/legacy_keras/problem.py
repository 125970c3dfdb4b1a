"""A small model with a rating and a retrieval task, and batches for it."""

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tf_mtl.integrations.tfrs import MultiTaskTFRSModel

USERS, ITEMS, WIDTH = 12, 9, 4


class Losses:
    """The losses of two tasks: both tables shared, the head of one task alone."""

    def __init__(self, regularizer=None, candidates=None, num_users=USERS, seed=0):
        super().__init__()

        def embedding(rows, seed):
            return tf.keras.layers.Embedding(
                rows,
                WIDTH,
                embeddings_initializer=tf.keras.initializers.RandomNormal(seed=seed),
            )

        self.users = embedding(num_users, seed + 1)
        self.items = embedding(ITEMS, seed + 2)
        self.norm = tf.keras.layers.BatchNormalization()
        self.head = tf.keras.layers.Dense(
            1,
            kernel_initializer=tf.keras.initializers.GlorotNormal(seed=seed + 3),
            kernel_regularizer=regularizer,
        )
        self.rating = tfrs.tasks.Ranking(
            tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError("rmse")],
        )
        self.watch = tfrs.tasks.Retrieval(metrics=candidates)

    def losses_by_task(self, inputs, training):
        user, item = self.users(inputs["user"]), self.items(inputs["item"])
        both = self.norm(tf.concat([user, item], axis=1), training=training)
        return {
            "rating": self.rating(
                labels=inputs["rating"],
                predictions=self.head(both),
                sample_weight=inputs.get("known"),
            ),
            "watch": 0.1 * self.watch(user, item, compute_metrics=not training),
        }


class Joint(Losses, MultiTaskTFRSModel):
    def compute_losses(self, inputs, training=False):
        return self.losses_by_task(inputs, training)


class Summed(Losses, tfrs.Model):
    """The same by TensorFlow Recommenders alone."""

    def compute_loss(self, inputs, training=False):
        return tf.add_n(list(self.losses_by_task(inputs, training).values()))


class MaybeAbsent(Joint):
    """Has a column that says which ratings are known."""

    def present_tasks(self, inputs):
        return {"rating": tf.reduce_any(inputs["known"] > 0)}


def make_rows(rows=64, seed=0, num_users=USERS):
    rng = np.random.default_rng(seed)
    return {
        "user": rng.integers(0, num_users, rows).astype("int32"),
        "item": rng.integers(0, ITEMS, rows).astype("int32"),
        "rating": rng.integers(1, 6, rows).astype("float32"),
    }


def make_data(rows=64, batch=16, **kwargs):
    return tf.data.Dataset.from_tensor_slices(make_rows(rows, **kwargs)).batch(
        batch, drop_remainder=True
    )
