cd /opt/cosmos-transfer1
PYTHONPATH=/opt/cosmos-transfer1 PYTHONUTF8=1 /venv/bin/python cosmos_transfer1/diffusion/inference/transfer.py --controlnet_specs /root/batches/ba_1/spec.json --batch_input_path /root/batches/ba_1/batch.jsonl --batch_size 1 --video_save_folder /root/batches/ba_1/out --checkpoint_dir /opt/cosmos-transfer1/checkpoints --num_gpus 1 --use_distilled
